"""Commands that make the table of balancers what it has to be, as part of a batch.  Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from dsn.dataplane import nfnetlink as nl
from dsn.dataplane.balance.steps import pack
from dsn.dataplane.balance.table import (
    FAMILIES,
    HOOKS,
    BalanceTable,
    Content,
    SetForm,
    describe,
    own_set,
)
from dsn.dataplane.bytecode import Step
from dsn.dataplane.writing import interval
from shared.policy.balancers import Balancers

# Notes for nft's sake (libnftnl/udata.h): maps have keys in the host's order, addresses never.
_MAP_ORDER: Final = bytes([0, 4, 1, 0, 0, 0, 1, 4, 2, 0, 0, 0])
_KEY_ORDER: Final = bytes([0, 4, 2, 0, 0, 0])
_END: Final = nl.number(3, 1)
# An attribute says its length in 16 bits; an element takes 44 bytes at most.
_LOT: Final = 1000


def make(table: str, balancers: Balancers, own: Sequence[str]) -> Iterator[nl.Message]:
    """Yield what puts the whole table in place of whatever stands there."""
    want = describe(balancers, own)
    commands = _Commands(table)
    yield from remove(table)
    yield commands.table(nl.NEW_TABLE)
    for number, (name, form) in enumerate(want.sets.items(), 1):
        yield commands.set(name, form, number)
    for name in want.chains:
        yield commands.chain(name)
    yield from _all_elements(commands, want)
    for name, rules in want.chains.items():
        for steps in rules:
            yield commands.rule(name, steps)


def remove(table: str) -> Iterator[nl.Message]:
    """Yield what takes the table away, whether there is one or not."""
    commands = _Commands(table)
    yield commands.table(nl.NEW_TABLE)
    yield commands.table(nl.DELETE_TABLE)


def change(
    table: str,
    have: tuple[Balancers | None, Sequence[str]],
    want: tuple[Balancers | None, Sequence[str]],
) -> list[nl.Message]:
    """Return what turns `have` (balancers and own addresses), which stands there, into `want`.

    Where only backends or own addresses differ, elements are exchanged and nothing else.
    """
    (before, own_before), (after, own_after) = have, want
    if after is None:
        return [] if before is None else list(remove(table))
    if before is None or _without_backends(before) != _without_backends(after):
        return list(make(table, after, own_after))
    commands = _Commands(table)
    old, new = describe(before, own_before), describe(after, own_after)
    messages: list[nl.Message] = []
    for family in FAMILIES:
        gone = [each for each in old.own[family] if each not in set(new.own[family])]
        come = [each for each in new.own[family] if each not in set(old.own[family])]
        for kind, cidrs in ((nl.DELETE_ELEMENTS, gone), (nl.NEW_ELEMENTS, come)):
            runs = [interval(family, each) for each in cidrs]
            messages += commands.intervals(kind, own_set(family), runs)
    for name, content in new.content.items():
        messages += _exchange(commands, name, old.content[name], content)
    return messages


def _without_backends(balancers: Balancers) -> Balancers:
    return tuple(replace(each, backends=()) for each in balancers)


def _exchange(commands: "_Commands", name: str, old: Content, new: Content) -> Iterator[nl.Message]:
    if old == new:
        return
    gone = {key: value for key, value in old.items() if key not in new or new[key] != value}
    come = {key: value for key, value in new.items() if key not in old or old[key] != value}
    yield from commands.elements(nl.DELETE_ELEMENTS, name, gone)
    yield from commands.elements(nl.NEW_ELEMENTS, name, come)


def _all_elements(commands: "_Commands", want: BalanceTable) -> Iterator[nl.Message]:
    for family in FAMILIES:
        runs = [interval(family, each) for each in want.own[family]]
        yield from commands.intervals(nl.NEW_ELEMENTS, own_set(family), runs)
    for name, content in want.content.items():
        yield from commands.elements(nl.NEW_ELEMENTS, name, content)


class _Commands:
    """Makes commands about one table."""

    def __init__(self, table: str) -> None:
        self._table = nl.text(1, table)

    def table(self, kind: int) -> nl.Message:
        making = kind == nl.NEW_TABLE
        return self._command(kind, nl.number(2, 0) if making else b"", making=making)

    def chain(self, name: str) -> nl.Message:
        content = nl.text(3, name)
        if name in HOOKS:
            hook = HOOKS[name]
            place = nl.number(1, hook.number) + nl.number(2, hook.priority)
            content += nl.nested(4, place) + nl.number(5, 1) + nl.text(7, hook.type)
        return self._command(nl.NEW_CHAIN, content)

    def set(self, name: str, form: SetForm, number: int) -> nl.Message:
        content = nl.text(2, name) + nl.number(3, form.flags) + nl.number(4, form.key_type)
        content += nl.number(5, form.key_length) + nl.number(10, number)
        if form.data_length:
            content += nl.number(6, form.data_type) + nl.number(7, form.data_length)
        content += nl.attribute(13, _MAP_ORDER if form.data_length else _KEY_ORDER)
        return self._command(nl.NEW_SET, content)

    def intervals(
        self, kind: int, name: str, runs: Sequence[tuple[bytes, bytes | None]]
    ) -> Iterator[nl.Message]:
        parts = []
        for start, end in runs:
            parts.append(_element(start, None))
            if end is not None:
                parts.append(_element(end, None, _END))
        yield from self._lots(kind, name, parts)

    def elements(
        self, kind: int, name: str, content: Mapping[bytes, bytes | None]
    ) -> Iterator[nl.Message]:
        yield from self._lots(kind, name, [_element(*each) for each in content.items()])

    def rule(self, chain: str, steps: Sequence[Step]) -> nl.Message:
        content = nl.text(2, chain) + nl.nested(4, pack(steps))
        return self._command(nl.NEW_RULE, content, more=nl.APPEND)

    def _lots(self, kind: int, name: str, parts: Sequence[bytes]) -> Iterator[nl.Message]:
        for start in range(0, len(parts), _LOT):
            content = nl.nested(3, b"".join(parts[start : start + _LOT]))
            making = kind == nl.NEW_ELEMENTS
            yield self._command(kind, nl.text(2, name) + content, making=making)

    def _command(
        self, kind: int, content: bytes, *, more: int = 0, making: bool = True
    ) -> nl.Message:
        return nl.Message(kind, (nl.CREATE if making else 0) | more, self._table + content)


def _element(key: bytes, value: bytes | None, more: bytes = b"") -> bytes:
    content = nl.nested(1, nl.attribute(1, key))
    if value is not None:
        content += nl.nested(2, nl.attribute(1, value))
    return nl.nested(1, content + more)
