"""Lines of recorded flows to columns.

A line is a JSON object: a flow as `hanse trace --flows` takes it, with what was counted of it.
Lines that look alike are read together, many at once; whatever is unusual goes through the slow
reading of one line, which alone decides what is wrong.
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from shared.algebra.boxes import Packet
from shared.algebra.bulk import parse_hosts
from shared.errors import FieldError, TooLarge
from shared.model.traffic import PORT_PROTOCOLS
from shared.policy.flow_columns import PORT_BITS, UNKNOWN, UNTIMED, VERDICTS, Codes, FlowColumns
from shared.policy.loaded.garbage import collection_paused
from shared.policy.written_flows import (
    DEFAULT_SOURCE_PORT,
    BadFlow,
    parse_flow,
    protocol_number,
)
from shared.telemetry.instants import parse_instant, parse_instants

Numbers = npt.NDArray[np.int64]
JSON = Mapping[str, Any]

MOST: Final = 10_000_000
"""Flows that are held at once; each takes some 60 bytes."""

# Past this many bad lines it is the wrong file.
_MAX_FAULTS: Final = 100

_TIMES: Final = ("lastSeen", "end", "start")
"""Where the time of a flow is looked for, in this order."""

_FLOW: Final = ("from", "to", "protocol", "port", "sourcePort")
_MORE: Final = ("bytes", "verdict")
_COLUMNS: Final = 7
_SHAPES: Final = 16
"""More sets of fields than these in a block aren't worth while."""

_LARGEST: Final = 1 << 63
_VERDICTS: Final = {text: place for place, text in enumerate(VERDICTS)}
_FIRST_V6: Final = 1 << 32
"""Codes from here on are places among the addresses of IPv6; below, they are IPv4 addresses."""


class _Unusual(Exception):
    """Lines that aren't all alike."""


class FlowReader:
    """Reads blocks of whole lines, one after another."""

    def __init__(self, name: str) -> None:
        """`name` is what faults call the file."""
        self._name = name
        self._line = 0
        self._v6: dict[int, int] = {}
        self._blocks: list[list[Numbers]] = []
        self._count = 0
        self.faults: Final[list[FieldError]] = []

    @property
    def is_hopeless(self) -> bool:
        """Whether so many lines are bad that the rest isn't worth a look."""
        return len(self.faults) >= _MAX_FAULTS

    def read(self, block: bytes, *, is_last: bool = False) -> None:
        """Read whole lines; the last of all may be unfinished.  TooLarge (`too_many_flows`)."""
        if block.endswith(b"\n"):
            block = block[:-1]
        lines = block.count(b"\n") + 1
        with collection_paused():
            try:
                columns = self._alike(block, lines)
            except (_Unusual, ValueError, KeyError, TypeError, OverflowError):
                columns = self._one_by_one(block, is_last=is_last)
        self._line += lines
        self._blocks.append(columns)
        self._count += len(columns[0])
        if self._count > MOST:
            raise TooLarge(
                f"{self._name} has more than {MOST:,} flows; keep them by the day, say, and give "
                "one file at a time",
                code="too_many_flows",
            )

    def columns(self) -> FlowColumns:
        """Return what was read."""
        if not self._blocks:
            self._blocks.append([np.zeros(0, dtype=np.int64) for _ in range(_COLUMNS)])
        source, destination, service, source_port, *rest = (
            np.concatenate(parts) for parts in zip(*self._blocks, strict=True)
        )
        self._blocks.clear()
        ends = np.concatenate((source, destination))
        is_six = ends >= _FIRST_V6
        v6 = sorted(self._v6)
        if v6:
            v4, four = _coded(ends[~is_six])
            places = {address: place for place, address in enumerate(v6, start=len(v4))}
            six = np.array([places[each] for each in self._v6], dtype=np.int32)
            codes = np.zeros(len(ends), dtype=np.int32)
            codes[~is_six] = four
            codes[is_six] = six[ends[is_six] - _FIRST_V6]
        else:
            v4, codes = _coded(ends)
        services, service_codes = _coded(service)
        octets, last_seen, verdicts = rest
        return FlowColumns(
            v4=v4,
            v6=v6,
            services=services,
            source=codes[: len(source)],
            destination=codes[len(source) :],
            service=service_codes,
            source_port=source_port.astype(np.uint16),
            octets=octets,
            last_seen=last_seen,
            verdicts=verdicts.astype(np.int8),
        )

    def _alike(self, block: bytes, lines: int) -> list[Numbers]:
        """Read lines with few different sets of fields.

        Any exception but TooLarge means that one by one they may say something else.
        """
        # With one brace a line and no bracket each line is an object by itself, if each parses.
        if block.count(b"{") != lines or b"[" in block:
            raise _Unusual
        rows: list[JSON] = orjson.loads(b"[" + block.replace(b"\n", b",\n") + b"]")
        if len(rows) != lines:
            raise _Unusual
        try:
            return self._uniform(rows)
        except (_Unusual, KeyError):
            shapes: dict[tuple[str, ...], list[JSON]] = {}
            for each in rows:
                shapes.setdefault(tuple(each), []).append(each)
            if len(shapes) > _SHAPES:
                raise
        parts = [self._uniform(each) for each in shapes.values()]
        return [np.concatenate(columns) for columns in zip(*parts, strict=True)]

    def _uniform(self, rows: Sequence[JSON]) -> list[Numbers]:
        """Read flows that have all fields of the first that matter, and no others that do."""
        names = rows[0].keys()
        time = next((place for place, name in enumerate(_TIMES) if name in names), len(_TIMES))
        wanted = [*_FLOW, *_MORE, *_TIMES[: time + 1]]
        asked = [name for name in wanted if name in names]
        for name in set(wanted) - set(asked):
            if any(name in each for each in rows):
                raise _Unusual
        given = dict(zip(asked, zip(*map(itemgetter(*asked), rows), strict=True), strict=True))
        absent = np.full(len(rows), UNKNOWN, dtype=np.int64)
        at = given.get(_TIMES[time]) if time < len(_TIMES) else None
        return [
            *self._ends(given["from"], given["to"]),
            *_services(given),
            _counts(given["bytes"]) if "bytes" in given else absent,
            np.full(len(rows), UNTIMED, dtype=np.int64) if at is None else _times(at),
            _recorded(given["verdict"]) if "verdict" in given else absent,
        ]

    def _ends(self, sources: Sequence[Any], destinations: Sequence[Any]) -> tuple[Numbers, Numbers]:
        found = []
        for texts in (sources, destinations):
            if set(map(type, texts)) != {str}:
                raise _Unusual
            v4 = parse_hosts(texts)
            found.append(v4 if v4 is not None else self._addresses(texts))
        source, destination = found
        if ((source >= _FIRST_V6) != (destination >= _FIRST_V6)).any():
            raise _Unusual
        return source, destination

    def _addresses(self, texts: Sequence[str]) -> Numbers:
        codes = {}
        for text in set(texts):
            try:
                packed = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
            except OSError as exc:
                raise _Unusual from exc
            value = int.from_bytes(packed, "big")
            codes[text] = value if len(packed) == 4 else self._six(value)
        return np.fromiter(map(codes.__getitem__, texts), dtype=np.int64, count=len(texts))

    def _six(self, value: int) -> int:
        return _FIRST_V6 + self._v6.setdefault(value, len(self._v6))

    def _one_by_one(self, block: bytes, *, is_last: bool) -> list[Numbers]:
        rows = []
        lines = block.split(b"\n")
        for number, line in enumerate(lines, start=self._line + 1):
            if self.is_hopeless:
                break
            if not line or line.isspace():
                continue
            try:
                rows.append(self._row(orjson.loads(line)))
            except BadFlow as exc:
                self._fault(number, exc.field, "invalid_flow", str(exc))
            except orjson.JSONDecodeError as exc:
                if is_last and number == self._line + len(lines):
                    continue  # still being written
                said = f"this is not JSON: {exc.msg} (column {exc.colno})"
                self._fault(number, "", "malformed", said)
        return [*np.array(rows, dtype=np.int64).reshape(-1, _COLUMNS).T]

    def _fault(self, line: int, field: str, code: str, sentence: str) -> None:
        self.faults.append(FieldError(field, code, sentence, file=self._name, line=line))

    def _row(self, given: Any) -> list[int]:
        """Return one flow's place in each column; BadFlow."""
        if not isinstance(given, Mapping):
            raise BadFlow("", "a flow is a JSON object with from, to, protocol and port")
        said = {name: value for name, value in given.items() if value is not None}
        packet = parse_flow(said).packet
        return [
            *self._codes(packet),
            packet.protocol << PORT_BITS | packet.port,
            packet.source_port,
            _count(said["bytes"], "bytes") if "bytes" in said else UNKNOWN,
            _time(said),
            _verdict(said["verdict"]) if "verdict" in said else UNKNOWN,
        ]

    def _codes(self, packet: Packet) -> Iterator[int]:
        for value in (packet.source, packet.destination):
            yield value if packet.family == 4 else self._six(value)


def _coded(values: Numbers) -> tuple[Numbers, Codes]:
    """Return the values (of 32 bits at most), ascending and each once, and the place of each."""
    # Sorted with their places in one number, which takes a tenth of looking each of them up.
    bits = len(values).bit_length()
    ordered = np.sort(values << bits | np.arange(len(values)))
    places = ordered & ((1 << bits) - 1)
    ordered >>= bits
    is_new = np.ones(len(values), dtype=bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    codes = np.empty(len(values), dtype=np.int32)
    codes[places] = np.cumsum(is_new, dtype=np.int32) - 1
    return ordered[is_new], codes


def _services(given: Mapping[str, Sequence[Any]]) -> tuple[Numbers, Numbers]:
    """Return the services and source ports of flows that all have ports, or all have none."""
    texts = given["protocol"]
    if not set(map(type, texts)) <= {str, int}:
        raise _Unusual
    numbers = {text: protocol_number(text) for text in set(texts)}
    protocols = np.fromiter(map(numbers.__getitem__, texts), dtype=np.int64, count=len(texts))
    protocols <<= PORT_BITS
    with_ports = {number in PORT_PROTOCOLS for number in numbers.values()}
    if with_ports == {False} and not {"port", "sourcePort"} & given.keys():
        return protocols, np.zeros(len(texts), dtype=np.int64)
    if with_ports != {True}:
        raise _Unusual
    ports = _ports(given["port"])
    if "sourcePort" not in given:
        return protocols | ports, np.full(len(texts), DEFAULT_SOURCE_PORT, dtype=np.int64)
    return protocols | ports, _ports(given["sourcePort"])


def _ports(values: Sequence[Any]) -> Numbers:
    found = _integers(values)
    if (found >> PORT_BITS).any():
        raise _Unusual
    return found


def _integers(values: Sequence[Any]) -> Numbers:
    # True and 1.0 are no numbers of anything.
    if set(map(type, values)) != {int}:
        raise _Unusual
    return np.array(values, dtype=np.int64)


def _counts(values: Sequence[Any]) -> Numbers:
    found = _integers(values)
    if (found < 0).any():
        raise _Unusual
    return found


def _times(texts: Sequence[Any]) -> Numbers:
    if set(map(type, texts)) != {str}:
        raise _Unusual
    found = parse_instants(texts)
    if found is not None:
        return found
    instants = {text: parse_instant(text) for text in set(texts)}
    return np.fromiter(map(instants.__getitem__, texts), dtype=np.int64, count=len(texts))


def _recorded(values: Sequence[Any]) -> Numbers:
    return np.fromiter(map(_VERDICTS.__getitem__, values), dtype=np.int64, count=len(values))


def _count(value: Any, field: str) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise BadFlow(field, f"{field} is a count: a number from 0 on")
    return value


def _time(given: Mapping[str, Any]) -> int:
    for name in _TIMES:
        if name in given:
            value = given[name]
            try:
                return parse_instant(value)
            except (ValueError, TypeError) as exc:
                said = "it must be text" if not isinstance(value, str) else str(exc)
                raise BadFlow(name, f"{name} is no time: {said}") from exc
    return UNTIMED


def _verdict(value: Any) -> int:
    if not isinstance(value, str) or value not in _VERDICTS:
        raise BadFlow("verdict", f"{value!r} is no verdict: it is {', '.join(VERDICTS)}")
    return _VERDICTS[value]
