"""Our rules as the kernel's own expressions, and back.  Pure.

A rule's statements, in the form in which nft lists them (see ruleset), become steps: loads into a
register, comparisons, lookups, verdicts.  Steps become netlink attributes (nf_tables.h), and the
attributes that the kernel gives back become steps again.  What comes back and isn't exactly what
one of our statements would have become is Strange.
"""

import socket
import sys
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from dsn.dataplane import nfnetlink as nl
from dsn.dataplane.ruleset import Expression, Expressions

Step = tuple[Any, ...]
"""An expression: its name, then its values in a fixed order.

    ("meta", register, key)   ("ct", register, key)   ("payload", register, base, offset, length)
    ("cmp", register, operation, value)   ("bitwise", source, register, length, mask)
    ("lookup", register, set)   ("objref", type, name)   ("log", group, prefix)
    ("reject", type, code)   ("immediate", register, verdict, chain)
"""

_EQUAL, _NOT_EQUAL, _AT_MOST, _AT_LEAST = 0, 1, 3, 5
_NETWORK, _TRANSPORT = 1, 2
_IFNAME, _NFPROTO, _L4PROTO = 6, 15, 16
_CT_STATE = 0
_COUNTER = 1
_IFNAMSIZ = 16
_HOST: Final = sys.byteorder
_VERDICT_REGISTER, _FIRST = 0, 1

_NFPROTO_OF: Final = {"ip": socket.AF_INET, "ip6": socket.AF_INET6}
_L4PROTO_OF: Final = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
_NETWORK_OF: Final = {"icmp": "ip", "icmpv6": "ip6"}
_PORTS: Final = {"sport": 0, "dport": 2}
_PLACE: Final = {
    ("ip", "saddr"): (_NETWORK, 12, 4),
    ("ip", "daddr"): (_NETWORK, 16, 4),
    ("ip6", "hoplimit"): (_NETWORK, 7, 1),
    ("ip6", "saddr"): (_NETWORK, 8, 16),
    ("ip6", "daddr"): (_NETWORK, 24, 16),
    ("icmp", "type"): (_TRANSPORT, 0, 1),
    ("icmpv6", "type"): (_TRANSPORT, 0, 1),
    ("tcp", "flags"): (_TRANSPORT, 13, 1),
    **{
        (protocol, name): (_TRANSPORT, offset, 2)
        for protocol in ("tcp", "udp", "sctp", "th")
        for name, offset in _PORTS.items()
    },
}
_HEADER_OF: Final = {
    (_NETWORK_OF.get(protocol, protocol), *place): name
    for (protocol, name), place in _PLACE.items()
    if protocol in ("ip", "ip6", "tcp", "udp", "sctp")
}
_VERDICTS: Final = {"accept": 1, "drop": 0, "return": -5}
_JUMPS: Final = {"jump": -3, "goto": -4}
_REJECTS: Final = {"tcp reset": 1, "icmpx": 2}


class Strange(Exception):
    """Expressions that are none of ours; the message says which."""


def assemble(expressions: Sequence[Expression]) -> tuple[Step, ...]:
    """Return the steps of one rule."""
    return tuple(_Assembler().steps(expressions))


def disassemble(steps: Sequence[Step]) -> Expressions:
    """Return the statements of a tier's rule; Strange if it isn't exactly one that we make."""
    found = list(_statements(list(steps)))
    if assemble(found) != tuple(steps):
        raise Strange("expressions that we never make")
    return found


def pack(steps: Sequence[Step]) -> bytes:
    """Return the expressions as the content of NFTA_RULE_EXPRESSIONS."""
    return b"".join([_pack(step) for step in steps])


def unpack(data: bytes) -> tuple[Step, ...]:
    """Return the steps of what the kernel lists as a rule's expressions; Strange."""
    return tuple([_unpack(each) for _, each in nl.pairs(data)])


class _Assembler:
    """Knows which headers a rule has already asked for."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def steps(self, expressions: Sequence[Expression]) -> Iterator[Step]:
        for each in expressions:
            ((what, content),) = each.items()
            if what == "match":
                yield from self._match(content["op"], content["left"], content["right"])
            elif what == "counter":
                yield ("objref", _COUNTER, content)
            elif what == "log":
                yield ("log", content["group"], content["prefix"])
            elif what == "reject":
                yield ("reject", _REJECTS[content["type"]], content.get("expr", 0))
            elif what in _JUMPS:
                yield ("immediate", _VERDICT_REGISTER, _JUMPS[what], content["target"])
            else:
                yield ("immediate", _VERDICT_REGISTER, _VERDICTS[what], "")

    def _match(self, operation: str, left: Expression, right: Any) -> Iterator[Step]:
        ((what, content),) = left.items()
        if what == "payload":
            length = yield from self._load(content["protocol"], content["field"], _FIRST)
            yield from _compare(right, length)
        elif what == "meta" and content["key"] == "l4proto":
            yield ("meta", _FIRST, _L4PROTO)
            yield ("cmp", _FIRST, _EQUAL, bytes([right]))
            self._known |= {name for name, value in _L4PROTO_OF.items() if value == right}
        elif what == "meta":
            yield ("meta", _FIRST, _IFNAME)
            yield ("cmp", _FIRST, _EQUAL, right.encode().ljust(_IFNAMSIZ, b"\0"))
        elif what == "ct":
            bits = sum(right) if isinstance(right, list) else right
            # The kernel keeps these bits, and comparisons of them, in the host's order.
            mask = bits.to_bytes(4, _HOST)
            yield ("ct", _FIRST, _CT_STATE)
            yield ("bitwise", _FIRST, _FIRST, 4, mask)
            yield ("cmp", _FIRST, _NOT_EQUAL, bytes(4))
        elif what == "&":
            payload = content[0]["payload"]
            yield from self._load(payload["protocol"], payload["field"], _FIRST)
            yield ("bitwise", _FIRST, _FIRST, 1, bytes([sum(content[1])]))
            yield ("cmp", _FIRST, _NOT_EQUAL if operation == "!=" else _EQUAL, bytes([right]))
        else:
            yield from self._concatenation(content, right)

    def _concatenation(self, parts: Sequence[Expression], right: str) -> Iterator[Step]:
        for part in parts:
            if "payload" in part:
                yield from self._headers(part["payload"]["protocol"])
        word = 0
        for part in parts:
            if "meta" in part:
                yield ("meta", _register(word), _L4PROTO)
                word += 1
                continue
            name = part["payload"]["protocol"], part["payload"]["field"]
            base, offset, length = _PLACE[name]
            yield ("payload", _register(word), base, offset, length)
            word += (length + 3) // 4
        yield ("lookup", _FIRST, right.removeprefix("@"))

    def _load(self, protocol: str, name: str, register: int) -> Generator[Step, None, int]:
        yield from self._headers(protocol)
        base, offset, length = _PLACE[protocol, name]
        yield ("payload", register, base, offset, length)
        return length

    def _headers(self, protocol: str) -> Iterator[Step]:
        """Ask for the headers that a field lies in, unless that has been done."""
        network = _NETWORK_OF.get(protocol, protocol)
        if network in _NFPROTO_OF and network not in self._known:
            self._known.add(network)
            yield ("meta", _FIRST, _NFPROTO)
            yield ("cmp", _FIRST, _EQUAL, bytes([_NFPROTO_OF[network]]))
        if protocol in _L4PROTO_OF and protocol not in self._known:
            self._known.add(protocol)
            yield ("meta", _FIRST, _L4PROTO)
            yield ("cmp", _FIRST, _EQUAL, bytes([_L4PROTO_OF[protocol]]))


def _compare(right: Any, length: int) -> Iterator[Step]:
    match right:
        case str() if right.startswith("@"):
            yield ("lookup", _FIRST, right[1:])
        case str():
            kind = socket.AF_INET if length == 4 else socket.AF_INET6
            yield ("cmp", _FIRST, _EQUAL, socket.inet_pton(kind, right))
        case int():
            yield ("cmp", _FIRST, _EQUAL, right.to_bytes(length, "big"))
        case {"range": [first, last]}:
            yield ("cmp", _FIRST, _AT_LEAST, first.to_bytes(length, "big"))
            yield ("cmp", _FIRST, _AT_MOST, last.to_bytes(length, "big"))


def _statements(steps: list[Step]) -> Iterator[Expression]:
    """Yield what a tier's rule says.  What is overlooked here, disassemble() finds."""
    network = transport = ""
    at = 0
    while at < len(steps):
        match steps[at : at + 3]:
            case [("meta", _, key), ("cmp", _, _, value), *rest] if key == _NFPROTO:
                network = "ip" if value == bytes([socket.AF_INET]) else "ip6"
                at += 2
            case [("meta", _, key), ("cmp", _, _, value), *rest] if key == _L4PROTO:
                names = [name for name, each in _L4PROTO_OF.items() if value == bytes([each])]
                if rest and rest[0][0] == "payload" and rest[0][2] == _TRANSPORT and names:
                    transport = names[0]
                else:
                    yield {
                        "match": {
                            "op": "==",
                            "left": {"meta": {"key": "l4proto"}},
                            "right": value[0],
                        }
                    }
                at += 2
            case [("payload", _, base, offset, length), test, *rest]:
                protocol = network if base == _NETWORK else transport
                name = _HEADER_OF.get((protocol, base, offset, length))
                if name is None:
                    raise Strange(f"a match on byte {offset} of a header")
                right, used = _tested(test, rest)
                yield {
                    "match": {
                        "op": "==",
                        "left": {"payload": {"protocol": protocol, "field": name}},
                        "right": right,
                    }
                }
                at += 1 + used
            case [("log", group, prefix), *_]:
                yield {"log": {"prefix": prefix, "group": group}}
                at += 1
            case [("objref", _, name), *_]:
                yield {"counter": name}
                at += 1
            case [("immediate", _, verdict, chain), *_]:
                yield _verdict(verdict, chain)
                at += 1
            case [step, *_]:
                raise Strange(f"a statement {step[0]}")


def _tested(test: Step, rest: Sequence[Step]) -> tuple[Any, int]:
    """Return what a loaded field is compared with, and in how many steps."""
    match test:
        case ("lookup", _, name):
            return f"@{name}", 1
        case ("cmp", _, operation, value) if operation == _AT_LEAST and rest:
            return {"range": [nl.number_of(value), nl.number_of(rest[0][3])]}, 2
        case ("cmp", _, _, value) if len(value) == 2:
            return nl.number_of(value), 1
    raise Strange(f"a match by {test[0]}")


def _verdict(code: int, chain: str) -> Expression:
    for name, value in _JUMPS.items():
        if value == code:
            return {name: {"target": chain}}
    for name, value in _VERDICTS.items():
        if value == code:
            return {name: None}
    raise Strange(f"a verdict {code}")


def _register(word: int) -> int:
    # The kernel gives back whole registers of 16 bytes by their own names.
    return 8 + word if word % 4 else 1 + word // 4


@lru_cache(1 << 16)
def _pack(step: Step) -> bytes:
    name, *values = step
    content: Sequence[bytes]
    match name, values:
        case "meta" | "ct", [register, key]:
            content = nl.number(1, register), nl.number(2, key)
        case "payload", [register, base, offset, length]:
            content = (
                nl.number(1, register),
                nl.number(2, base),
                nl.number(3, offset),
                nl.number(4, length),
            )
        case "cmp", [register, operation, value]:
            content = nl.number(1, register), nl.number(2, operation), _data(3, value)
        case "bitwise", [source, register, length, mask]:
            content = (
                nl.number(1, source),
                nl.number(2, register),
                nl.number(3, length),
                _data(4, mask),
                _data(5, bytes(length)),
            )
        case "lookup", [register, set_]:
            content = nl.text(1, set_), nl.number(2, register)
        case "objref", [kind, object_]:
            content = nl.number(1, kind), nl.text(2, object_)
        case "log", [group, prefix]:
            content = nl.attribute(1, group.to_bytes(2, "big")), nl.text(2, prefix)
        case "reject", [kind, code]:
            content = nl.number(1, kind), nl.attribute(2, bytes([code]))
        case "immediate", [register, code, chain]:
            to = nl.text(2, chain) if chain else b""
            verdict = nl.nested(2, nl.number(1, code) + to)
            content = nl.number(1, register), nl.nested(2, verdict)
        case _:
            raise AssertionError(f"there is no expression {name}")
    return nl.nested(1, nl.text(1, name) + nl.nested(2, b"".join(content)))


@lru_cache(1 << 16)
def _unpack(data: bytes) -> Step:
    parts = nl.attributes_of(data)
    name = nl.text_of(parts.get(1, b""))
    found = nl.attributes_of(parts.get(2, b""))
    try:
        step, used = _read(name, found)
    except (KeyError, IndexError) as exc:
        raise Strange(f"a statement {name}") from exc
    # Beside what we write, the kernel lists what it takes for granted.
    for kind, value in found.items():
        if kind not in used and any(value):
            raise Strange(f"a statement {name} with more than ours has")
    return step


def _read(name: str, found: dict[int, bytes]) -> tuple[Step, tuple[int, ...]]:
    number = nl.number_of
    match name:
        case "meta" | "ct":
            return (name, number(found[1]), number(found[2])), (1, 2)
        case "payload":
            return (name, *(number(found[kind]) for kind in (1, 2, 3, 4))), (1, 2, 3, 4)
        case "cmp":
            return (name, number(found[1]), number(found[2]), _value(found[3])), (1, 2, 3)
        case "bitwise":
            numbers = (number(found[kind]) for kind in (1, 2, 3))
            if any(_value(found[5])):
                raise Strange("a bitwise xor")
            return (name, *numbers, _value(found[4])), (1, 2, 3, 4, 5)
        case "lookup":
            return (name, number(found[2]), nl.text_of(found[1])), (1, 2)
        case "objref":
            return (name, number(found[1]), nl.text_of(found[2])), (1, 2)
        case "log":
            return (name, number(found[1]), nl.text_of(found[2])), (1, 2)
        case "reject":
            code = found.get(2, b"\0")[0]
            return (name, number(found[1]), code), (1, 2)
        case "immediate":
            verdict = nl.attributes_of(nl.attributes_of(found[2])[2])
            code = int.from_bytes(verdict[1], "big", signed=True)
            chain = nl.text_of(verdict.get(2, b""))
            return (name, number(found[1]), code, chain), (1, 2)
    raise Strange(f"a statement {name}")


def _data(kind: int, value: bytes) -> bytes:
    return nl.nested(kind, nl.attribute(1, value))


def _value(data: bytes) -> bytes:
    return nl.attributes_of(data)[1]
