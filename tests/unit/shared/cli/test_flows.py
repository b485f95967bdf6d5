"""Flows as programs give them: what is taken, and what is said of the rest."""

import pytest

from shared.cli.flows import read_flows
from shared.errors import Invalid
from shared.policy.nodeconfig import Packet
from shared.policy.written_flows import BadFlow, parse_flow

FLOW = {"from": "10.0.0.1", "to": "10.0.0.2", "protocol": "tcp", "port": 80}
ONE, TWO = 0x0A000001, 0x0A000002


@pytest.mark.parametrize(
    ("given", "packet"),
    [
        ({}, Packet(4, ONE, TWO, 6, 49152, 80)),
        ({"protocol": 6}, Packet(4, ONE, TWO, 6, 49152, 80)),
        ({"protocol": "17", "port": "0", "sourcePort": 65535}, Packet(4, ONE, TWO, 17, 65535, 0)),
        ({"from": "::1", "to": "::2"}, Packet(6, 1, 2, 6, 49152, 80)),
        ({"note": [1]}, Packet(4, ONE, TWO, 6, 49152, 80)),
    ],
)
def test_a_flow_is_read_as_a_packet(given, packet):
    flow = parse_flow(FLOW | given)
    assert flow.packet == packet
    assert flow.given == FLOW | given


@pytest.mark.parametrize("protocol", ["icmp", "icmpv6", 47, 0, 255])
def test_protocols_without_ports_take_none(protocol):
    bare = {key: value for key, value in FLOW.items() if key != "port"} | {"protocol": protocol}
    assert parse_flow(bare).packet[4:] == (0, 0)
    for field in ("port", "sourcePort"):
        with pytest.raises(BadFlow, match="no ports"):
            parse_flow(bare | {field: 80})


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"from": None}, "from"),
        ({"from": 167772161}, "from"),
        ({"from": "10.0.0.1/32"}, "from"),
        ({"from": "10.0.0.01"}, "from"),
        ({"from": "fe80::1%eth0", "to": "fe80::2"}, "from"),
        ({"to": "::1"}, "to"),
        ({"protocol": "any"}, "protocol"),
        ({"protocol": "tcq"}, "protocol"),
        ({"protocol": 256}, "protocol"),
        ({"protocol": True}, "protocol"),
        ({"protocol": 6.0}, "protocol"),
        ({"port": 65536}, "port"),
        ({"port": -1}, "port"),
        ({"port": True}, "port"),
        ({"port": 80.0}, "port"),
        ({"port": "80-81"}, "port"),
        ({"port": None}, "port"),
        ({"sourcePort": "x"}, "sourcePort"),
    ],
)
def test_a_bad_field_is_named(given, field):
    with pytest.raises(BadFlow) as caught:
        parse_flow(FLOW | given)
    assert caught.value.field == field


@pytest.mark.parametrize("field", ["from", "to", "protocol", "port"])
def test_a_missing_field_is_named(field):
    with pytest.raises(BadFlow) as caught:
        parse_flow({key: value for key, value in FLOW.items() if key != field})
    assert caught.value.field == field


def test_every_bad_line_is_named_by_its_number():
    good = b'{"from": "10.0.0.1", "to": "10.0.0.2", "protocol": "icmp"}\n'
    lines = [good, b"\n", b"{\n", b"[]\n", b'"\xff"\n', b'{"from": 1}\n', good]
    with pytest.raises(Invalid) as caught:
        read_flows(lines, file="f.jsonl")
    assert [(each.file, each.line, each.code) for each in caught.value.fields] == [
        ("f.jsonl", 3, "malformed"),
        ("f.jsonl", 4, "invalid_flow"),
        ("f.jsonl", 5, "malformed"),
        ("f.jsonl", 6, "invalid_flow"),
    ]
    assert len(read_flows([good, b"  \n", good], file="f.jsonl")) == 2


def test_a_file_of_something_else_is_given_up_early():
    with pytest.raises(Invalid) as caught:
        read_flows((b"nothing\n" for _ in range(10_000)), file="f")
    assert len(caught.value.fields) == 100
