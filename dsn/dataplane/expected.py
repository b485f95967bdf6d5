"""What the kernel must list once a whole table has been written, to hold beside what it does list.

A configuration becomes a table in one way only, so a kernel that lists exactly that table enforces
exactly that configuration; what each rule says needn't be worked out anew.  Where anything differs,
it is (see standing).  Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsn.dataplane import bytecode
from dsn.dataplane.bytecode import Step
from dsn.dataplane.elements import Run, Runs
from dsn.dataplane.reading import RawTable
from dsn.dataplane.ruleset import RULE_COUNTER, Table, all_set_attributes, chain_attributes
from dsn.dataplane.writing import Replacement
from shared.policy.nodeconfig import NodeConfiguration

Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """The table of a configuration: its sets' attributes and runs, its chains' rules as steps."""

    configuration: NodeConfiguration
    counters: frozenset[str]
    sets: Mapping[str, Attributes]
    runs: Mapping[str, Runs]
    chains: Mapping[str, Sequence[tuple[Step, ...]]]

    def is_all_of(self, found: RawTable) -> bool:
        """Return whether a kernel that lists `found` holds this table and nothing else."""
        return (
            not found.foreign
            and found.counters.keys() == self.counters
            and {name: each.attributes for name, each in found.sets.items()} == self.sets
            and all(
                (elements := found.sets[name].elements) is not None and elements.runs == runs
                for name, runs in self.runs.items()
            )
            and found.chains.keys() == self.chains.keys()
            and all(
                found.chains[name].attributes == chain_attributes(name)
                and _are(rules, [each.expressions for each in found.chains[name].rules])
                for name, rules in self.chains.items()
            )
        )


def joined(intervals: Iterable[Run]) -> Runs:
    """Return runs of keys in order, those that touch as one, as they are read back."""
    result: list[Run] = []
    for start, end in sorted(intervals, key=lambda each: each[0]):
        if result and result[-1][1] == start:
            result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return tuple(result)


def counted_for(steps: Sequence[Step]) -> str:
    """Return the id of the rule that a tier's rule counts for."""
    names = (step[2] for step in steps if step[0] == "objref")
    return str(next(names)).removeprefix(RULE_COUNTER)


def expect(configuration: NodeConfiguration, want: Table, written: Replacement) -> Expected:
    """Return what is there once a table that was rendered of `configuration` has been written."""
    return Expected(
        configuration,
        want.counters,
        all_set_attributes(want),
        {name: joined(each) for name, each in written.intervals.items()},
        written.chains,
    )


def _are(rules: Sequence[tuple[Step, ...]], listed: Sequence[bytes]) -> bool:
    if len(rules) != len(listed):
        return False
    try:
        return all(
            bytecode.unpack(data) == steps for data, steps in zip(listed, rules, strict=True)
        )
    except bytecode.Strange:
        return False
