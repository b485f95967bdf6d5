"""Which connections end: those whose first packet would now be denied, as the rules saw it."""

import ipaddress

from dsn.dataplane.ending import denied_entries, first_packet
from dsn.dataplane.netlink import Direction, Entry
from shared.policy.nodeconfig import Judge, NodeConfiguration, NodeRule, NodeService, Packet

TCP, ICMP = 6, 1
PEER, OWN, SHOWN = (
    int(ipaddress.ip_address(each)) for each in ("10.9.0.1", "10.1.0.1", "192.0.2.1")
)


def make_entry(
    source: int,
    destination: int,
    port: int,
    *,
    translated: int | None = None,
    master: Direction | None = None,
    protocol: int = TCP,
) -> Entry:
    original = Direction(source, destination, protocol, 4000, port)
    reply = Direction(
        destination if translated is None else translated, source, protocol, port, 4000
    )
    return Entry(4, original, reply, master, b"")


def judge(*ports: int, protocol: int = TCP) -> Judge:
    """Judge by a configuration that allows connections to these ports, or all of a protocol."""
    ranges = tuple((port, port) for port in ports) or None
    rule = NodeRule(
        *("0" * 16, "local", "common", "p", "r", "local", "allow"),
        services=(NodeService(protocol, ranges),),
    )
    return Judge(NodeConfiguration("n", "deny", ("10.1.0.1/32",), {}, (rule,)))


def test_only_what_is_denied_and_own_ends() -> None:
    allowed, denied = make_entry(PEER, OWN, 80), make_entry(PEER, OWN, 81)
    transit = make_entry(PEER, SHOWN, 81)

    assert denied_entries([allowed, denied, transit], judge(80)) == [denied]


def test_a_translated_destination_counts_as_the_rules_saw_it() -> None:
    translated = make_entry(PEER, SHOWN, 80, translated=OWN)

    assert first_packet(translated) == Packet(4, PEER, OWN, TCP, 4000, 80)
    assert denied_entries([translated], judge(81)) == [translated]
    assert denied_entries([translated], judge(80)) == []


def test_a_part_of_a_connection_is_judged_as_that_connection() -> None:
    session = make_entry(PEER, OWN, 21)
    transfer = make_entry(PEER, OWN, 5555, master=session.original)

    assert denied_entries([session, transfer], judge(21)) == []
    assert denied_entries([session, transfer], judge(80)) == [session, transfer]
    # A session that tracking has forgotten is remembered by its parts.
    assert denied_entries([transfer], judge(21)) == []


def test_a_protocol_without_ports_is_judged_without_them() -> None:
    ping = make_entry(PEER, OWN, 0, protocol=ICMP)

    assert denied_entries([ping], judge(protocol=ICMP)) == []
    assert denied_entries([ping], judge(80)) == [ping]
