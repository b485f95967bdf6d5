"""Expressions of address translation, as the kernel takes and gives them back.  Pure.

They stand beside those of shared tables (dsn.dataplane.bytecode), which are packed there:

    ("hash", source, register, length, modulus, seed)   ("numgen", register, modulus)
    ("map", source, map, register)   ("load", register, value)
    ("asked", register, key)   ("nat", type, family, address register, port register or 0)

`asked` loads a field of a connection's first packet, as it was sent.
"""

from collections.abc import Sequence
from typing import Final

from dsn.dataplane import bytecode
from dsn.dataplane import nfnetlink as nl
from dsn.dataplane.bytecode import Step, Strange

SOURCE, DESTINATION = 0, 1
"""What a "nat" translates (enum nft_nat_types)."""

_RANDOM: Final = 1
_ORIGINAL: Final = 0
# NF_NAT_RANGE_MAP_IPS and NF_NAT_RANGE_PROTO_SPECIFIED: the kernel says which registers it uses.
_IMPLIED: Final = 0x1 | 0x2
_OURS: Final = frozenset({"hash", "numgen", "nat"})


def pack(steps: Sequence[Step]) -> bytes:
    """Return the expressions as the content of NFTA_RULE_EXPRESSIONS."""
    return b"".join([_pack(step) for step in steps])


def unpack(data: bytes) -> tuple[Step, ...]:
    """Return the steps of what the kernel lists as a rule's expressions; Strange."""
    return tuple([_unpack(kind, each) for kind, each in nl.pairs(data)])


def _pack(step: Step) -> bytes:
    name, *values = step
    match name, values:
        case "hash", [source, register, length, modulus, seed]:
            content = _numbers(source, register, length, modulus, seed, 0, 0)
        case "numgen", [register, modulus]:
            content = _numbers(register, modulus, _RANDOM, 0)
        case "map", [source, map_, register]:
            name = "lookup"
            content = [nl.text(1, map_), nl.number(2, source), nl.number(3, register)]
        case "load", [register, value]:
            name = "immediate"
            content = [nl.number(1, register), nl.nested(2, nl.attribute(1, value))]
        case "asked", [register, key]:
            name = "ct"
            direction = nl.attribute(3, bytes([_ORIGINAL]))
            content = [nl.number(1, register), nl.number(2, key), direction]
        case "nat", [what, family, address, port]:
            content = [nl.number(1, what), nl.number(2, family), nl.number(3, address)]
            content += [nl.number(5, port)] if port else []
        case _:
            return bytecode.pack([step])
    return nl.nested(1, nl.text(1, name) + nl.nested(2, b"".join(content)))


def _numbers(*values: int) -> list[bytes]:
    return [nl.number(kind, value) for kind, value in enumerate(values, 1)]


def _unpack(kind: int, data: bytes) -> Step:
    parts = nl.attributes_of(data)
    name = nl.text_of(parts.get(1, b""))
    found = nl.attributes_of(parts.get(2, b""))
    number = {which: nl.number_of(value) for which, value in found.items()}
    try:
        if name in _OURS:
            return _translation(name, number)
        if name == "lookup" and number.get(3):
            _only(name, number, {1, 2, 3})
            return ("map", number[2], nl.text_of(found[1]), number[3])
        if name == "immediate" and number[1]:
            return ("load", number[1], nl.attributes_of(found[2])[1])
        if name == "ct" and 3 in found:
            _only(name, number, {1, 2})
            return ("asked", number[1], number[2])
    except (KeyError, IndexError) as exc:
        raise Strange(f"a statement {name}") from exc
    (step,) = bytecode.unpack(nl.nested(kind, data))
    return step


def _translation(name: str, number: dict[int, int]) -> Step:
    if name == "hash":
        _only(name, number, {1, 2, 3, 4, 5})
        return (name, *(number[kind] for kind in (1, 2, 3, 4, 5)))
    if name == "numgen":
        _only(name, number, {1, 2, 3})
        if number[3] != _RANDOM:
            raise Strange("numbers that aren't random")
        return (name, number[1], number[2])
    port = number.get(5, 0)
    if number.get(4, number[3]) != number[3] or number.get(6, port) != port:
        raise Strange("a translation to a range")
    if number.get(7, 0) & ~_IMPLIED:
        raise Strange("a translation with flags")
    return (name, number[1], number[2], number[3], port)


def _only(name: str, number: dict[int, int], used: set[int]) -> None:
    """Raise Strange if there is more than what the kernel lists for granted, which is zero."""
    if any(value for kind, value in number.items() if kind not in used):
        raise Strange(f"a statement {name} with more than ours has")
