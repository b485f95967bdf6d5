"""From what stands to what is wanted, as one atomic batch of nft commands.  Pure.

A batch is one kernel transaction: a packet meets the old table or the new one, never a mixture, and
a batch that fails leaves the old.  Objects that stay are kept, for a counter's count and the ended
connections live in them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from dsn.dataplane.listing import Listing
from dsn.dataplane.ruleset import Table, all_set_attributes, chain_attributes

Command = dict[str, Any]


def replace(table: str, have: Listing | None, want: Table) -> list[Command]:
    """Return what makes `table` hold `want` exactly, whatever stands there now.

    What is wanted and stands there in the right form keeps its content's identity: counters their
    counts, ended connections their time.  A table with objects of kinds that we never make is
    made anew.
    """
    batch = _Batch(table)
    if have is not None and have.foreign:
        batch.whole_table("add")
        batch.whole_table("delete")
        have = None
    batch.whole_table("add")
    wanted_sets = all_set_attributes(want)
    if have is not None:
        for name in have.chains:
            batch.flush("chain", name)
        for name, chain in have.chains.items():
            if name not in want.chains or chain.attributes != chain_attributes(name):
                batch.delete("chain", name)
        for name, each in have.sets.items():
            if each.attributes != wanted_sets.get(name):
                batch.delete("set", name)
            elif name in want.sets or name in want.numbers:
                batch.flush("set", name)
        for name in have.counters.keys() - want.counters:
            batch.delete("counter", name)
    for name in sorted(want.counters):
        batch.add("counter", name)
    for name, attributes in wanted_sets.items():
        batch.add("set", name, attributes)
    for name in want.chains:
        batch.add("chain", name, chain_attributes(name))
    for name, content in want.sets.items():
        batch.elements("add", name, content.cidrs)
    for name, numbers in want.numbers.items():
        batch.ranges(name, numbers.ranges)
    for name, rules in want.chains.items():
        batch.rules(name, rules)
    return batch.commands


def remove(table: str) -> list[Command]:
    """Return what takes the table away, whether there is one or not."""
    batch = _Batch(table)
    batch.whole_table("add")
    batch.whole_table("delete")
    return batch.commands


class _Batch:
    """Collects commands about one table."""

    def __init__(self, table: str) -> None:
        self.commands: list[Command] = []
        self._table = table

    def whole_table(self, verb: str) -> None:
        self.commands.append({verb: {"table": {"family": "inet", "name": self._table}}})

    def add(self, kind: str, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        self.command("add", kind, {"name": name, **(attributes or {})})

    def delete(self, kind: str, name: str) -> None:
        self.command("delete", kind, {"name": name})

    def flush(self, kind: str, name: str) -> None:
        self.command("flush", kind, {"name": name})

    def elements(self, verb: str, name: str, cidrs: Iterable[str]) -> None:
        if elements := [_prefix(each) for each in cidrs]:
            self.command(verb, "element", {"name": name, "elem": elements})

    def ranges(self, name: str, ranges: Iterable[tuple[int, int]]) -> None:
        elements = [first if first == last else {"range": [first, last]} for first, last in ranges]
        self.command("add", "element", {"name": name, "elem": elements})

    def rules(self, chain: str, rules: Iterable[list[dict[str, Any]]]) -> None:
        for expressions in rules:
            self.command("add", "rule", {"chain": chain, "expr": expressions})

    def command(self, verb: str, kind: str, content: Mapping[str, Any]) -> None:
        self.commands.append({verb: {kind: {"family": "inet", "table": self._table, **content}}})


def _prefix(cidr: str) -> dict[str, Any]:
    address, _, length = cidr.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}
