"""Recorded flows are read the same whether many lines at once or one by one, whatever their form."""

import json
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.policy.flow_columns import UNKNOWN, UNTIMED, VERDICTS, FlowColumns
from shared.telemetry.flow_lines import FlowReader
from shared.telemetry.instants import parse_instant, parse_instants

NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
WITH_PORTS = (6, 17, 132)

V4 = st.sampled_from(["10.0.0.1", "10.0.0.2", "255.255.255.255", "0.0.0.0", "192.0.2.77"])
V6 = st.sampled_from(["2001:db8::1", "2001:DB8:0::1", "::", "ffff::ffff", "::ffff:10.0.0.1"])
TIMES = st.sampled_from(
    [
        "2026-11-23T10:00:00Z",
        "2026-11-23T10:00:00.25Z",
        "2026-11-23T10:00:00.123456789Z",
        "2026-11-23T12:00:00+02:00",
        "2024-02-29T23:59:59Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
    ]
)


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a line, and what it says."""
    ends = draw(st.sampled_from([V4, V4, V4, V6]))
    flow: dict[str, Any] = {"from": draw(ends), "to": draw(ends)}
    protocol = draw(st.sampled_from(["tcp", "tcp", "udp", "icmp", 6, "6", 47, "sctp", "132"]))
    flow["protocol"] = protocol
    number = NUMBERS.get(protocol) or int(protocol)
    if number in WITH_PORTS:
        flow["port"] = draw(st.sampled_from([443, 0, 65535, "80"]))
        if draw(st.booleans()):
            flow["sourcePort"] = draw(st.sampled_from([40000, 0, 65535]))
    if draw(st.booleans()):
        flow["bytes"] = draw(st.sampled_from([0, 1, 10**6, 2**63 - 1, None]))
    for name in ("start", "end", "lastSeen"):
        if draw(st.booleans()):
            flow[name] = draw(TIMES)
    if draw(st.booleans()):
        flow["verdict"] = draw(st.sampled_from(VERDICTS))
    if draw(st.integers(0, 9)) == 0:
        flow["note"] = draw(st.sampled_from(["{", "[]", {"inner": [1]}, "a\nb", "\u2028"]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    return json.dumps(flow, separators=separators, ensure_ascii=draw(st.booleans())), flow


@given(st.lists(lines(), min_size=1, max_size=12), st.sampled_from(["\n", "\r\n", "\n\n", " \n"]))
def test_what_is_read_is_what_the_lines_say(given: list[tuple[str, Any]], end: str) -> None:
    at_once, one_by_one = FlowReader("at once"), FlowReader("one by one")
    at_once.read(end.join(text for text, _ in given).encode())
    for text, _ in given:
        # A blank line makes a block that isn't read at once.
        one_by_one.read(f"{text}\n\n".encode())
    expected = sorted(said(flow) for _, flow in given)
    for reader in (at_once, one_by_one):
        assert reader.faults == []
        assert sorted(rows(reader.columns())) == expected


def said(flow: dict[str, Any]) -> tuple[Any, ...]:
    number = NUMBERS.get(flow["protocol"]) or int(flow["protocol"])
    ports = number in WITH_PORTS
    times = [flow[name] for name in ("lastSeen", "end", "start") if name in flow]
    octets = flow.get("bytes")
    return (
        ip_address(flow["from"]).version,
        int(ip_address(flow["from"])),
        int(ip_address(flow["to"])),
        number,
        flow.get("sourcePort", 49152) if ports else 0,
        int(flow["port"]) if ports else 0,
        UNKNOWN if octets is None else octets,
        instant(times[0]) if times else UNTIMED,
        VERDICTS.index(flow["verdict"]) if "verdict" in flow else UNKNOWN,
    )


def instant(text: str) -> int:
    seconds, point, rest = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(seconds)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    # The calendar's own seconds, and six digits of the fraction.
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**6 + (
        int(rest[:6].ljust(6, "0")) if point else 0
    )


def rows(read: FlowColumns) -> list[tuple[Any, ...]]:
    return [
        (*read.packet(place), *(int(column[place]) for column in columns_of(read)))
        for place in range(len(read))
    ]


def columns_of(read: FlowColumns) -> tuple[Any, ...]:
    return read.octets, read.last_seen, read.verdicts


@given(
    st.lists(
        st.tuples(
            st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001
            st.integers(0, 999_999_999),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 9),
)
def test_times_at_once_are_the_times_one_by_one(
    given: list[tuple[datetime, int]], digits: int
) -> None:
    texts = [
        moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        + (f".{fraction:09}"[: digits + 1] if digits else "")
        + "Z"
        for moment, fraction in given
    ]
    found = parse_instants(texts)
    assert found is not None
    assert found.tolist() == [parse_instant(text) for text in texts] == [*map(instant, texts)]


@given(st.text("0123456789-T:.Z+ ", min_size=18, max_size=22))
def test_what_is_no_time_is_not_taken_for_one(text: str) -> None:
    found = parse_instants([text])
    if found is not None:
        assert found.tolist() == [parse_instant(text)]
