"""What is known to stand in the kernel: read whole once, then kept true by reading what changed.

The kernel numbers the states of its rules.  As long as its number is the one at which we read, or
the one that our own batches have led to, nobody else has written anything anywhere, so what a batch
of ours has not touched stands as it was read.  What it has touched is read again.  Nothing here is
taken from what was written, except that a table which is listed exactly as it was written needn't
be worked out to be known (see expected).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final

from dsn.dataplane import nfnetlink as nl
from dsn.dataplane import reading
from dsn.dataplane.contract import NoDataPlane, ReadBack
from dsn.dataplane.difference import common_ends, members_difference
from dsn.dataplane.elements import NO_ELEMENTS, Elements, Runs
from dsn.dataplane.expected import Expected, counted_for
from dsn.dataplane.listing import Listing, Strange, interpret, parse_rule, ports_of
from dsn.dataplane.reading import RawRule, RawTable, Translation
from dsn.dataplane.ruleset import (
    FAMILIES,
    PORT_SET,
    Layout,
    address_set,
    own_set,
    port_set,
    rule_expressions,
    tier_chain,
)
from dsn.dataplane.writing import Touched
from shared.algebra import intervals
from shared.algebra.cidrs import BITS, AddressSet, Family
from shared.policy.nodeconfig import TIERS, NodeRule, Tier
from shared.policy.nodehash import (
    MODULUS,
    content_hash,
    members_total,
    rules_total,
    set_term,
)

_ATTEMPTS: Final = 20

_Group = tuple[str, tuple[RawRule, ...]]


class Surprise(Exception):
    """What was read again isn't what only our own batch could have left: read the whole."""


@dataclass(slots=True)
class Standing:
    """A table of rules, as read.  Only one without faults is ever read again in parts."""

    generation: int
    answer: ReadBack
    default_action: str
    addresses: tuple[str, ...]
    rules: dict[Tier, tuple[NodeRule, ...]]
    total: int
    elements: dict[str, Elements]
    ports: dict[str, tuple[tuple[int, int], ...]]
    groups: dict[str, list[tuple[int, ...]]]
    staged: str | None = None
    """The hash of what is staged with it."""


class Reader:
    """Reads one table, whole or in parts."""

    def __init__(self, *, netfilter: nl.Netfilter, table: str, layout: Layout) -> None:
        self._netfilter = netfilter
        self._table = table
        self._layout = layout
        self._translation = Translation(layout)
        self._parsed: dict[tuple[Tier, Family, tuple[bytes, ...]], NodeRule] = {}

    def whole(self, expected: Expected | None = None) -> Standing | None:
        """Return all that stands, None without a table.  NoDataPlane.

        It is the same with and without `expected`; with it, and if it is there, sooner.
        """
        for _ in range(_ATTEMPTS):
            generation = self._netfilter.generation()
            found = reading.read_table(self._netfilter, self._table)
            # What was read while somebody wrote is no state that ever was.
            if self._netfilter.generation() != generation:
                continue
            self._parsed.clear()
            self._translation.forget()
            if found is None:
                return None
            if expected is not None and expected.is_all_of(found):
                return self._recognise(generation, expected, found)
            return self._interpret(generation, found)
        raise NoDataPlane("the kernel's rules change faster than they can be read back")

    def listing(self) -> Listing | None:
        """Return the whole table as a listing, None without one.  NoDataPlane."""
        found = reading.read_table(self._netfilter, self._table)
        return None if found is None else reading.listing_of(found, self._translation)

    def again(self, standing: Standing, touched: Touched, generation: int) -> None:
        """Bring `standing` up to the kernel's `generation`; Surprise if it has to be read whole.

        Nobody but us has written since `standing` was read, or the kernel's number is another.
        After a Surprise `standing` is worth nothing.
        """
        if self._netfilter.generation() != generation:
            raise Surprise
        for name in touched.removed:
            self._forget_set(standing, name)
        for name in sorted(touched.sets):
            self._read_set(standing, name, made=name in touched.made)
        for tier in TIERS:
            if any(tier_chain(tier, family) in touched.chains for family in FAMILIES):
                self._read_tier(standing, tier)
        if self._netfilter.generation() != generation:
            raise Surprise
        standing.generation = generation
        standing.answer = ReadBack(
            content_hash(standing.default_action, standing.addresses, standing.total)
        )

    def _recognise(self, generation: int, expected: Expected, found: RawTable) -> Standing:
        configuration = expected.configuration
        of_tier: dict[Tier, tuple[NodeRule, ...]] = {
            tier: tuple(rule for rule in configuration.rules if rule.tier == tier) for tier in TIERS
        }
        groups = {}
        for tier in TIERS:
            for family in FAMILIES:
                name = tier_chain(tier, family)
                numbers = [counted_for(steps) for steps in expected.chains[name]]
                listed = _grouped(numbers, found.chains[name].rules)
                groups[name] = [tuple(each.handle for each in group) for _, group in listed]
                self._keep(tier, family, of_tier[tier], listed)
        return Standing(
            generation=generation,
            answer=ReadBack(configuration.hash()),
            default_action=configuration.default_action,
            addresses=configuration.addresses,
            rules=of_tier,
            total=configuration.total(),
            elements=_all_elements(found),
            ports={
                name: tuple(intervals.to_ranges(reading.to_intervals(runs, 16)))
                for name, runs in expected.runs.items()
                if name.startswith(PORT_SET)
            },
            groups=groups,
            staged=configuration.staged.hash() if configuration.staged else None,
        )

    def _interpret(self, generation: int, raw: RawTable) -> Standing:
        listing = reading.listing_of(raw, self._translation)
        answer, found = interpret(listing, self._layout)
        rules: dict[Tier, tuple[NodeRule, ...]] = {}
        groups = {}
        for tier in TIERS:
            rules[tier] = tuple(rule for rule in found.rules if rule.tier == tier)
            for family in FAMILIES:
                name = tier_chain(tier, family)
                chain = raw.chains.get(name)
                listed = self._by_rule(chain.rules if chain else ())
                groups[name] = [tuple(each.handle for each in group) for _, group in listed]
                if not answer.faults:
                    # Then both families' chains hold exactly these.
                    self._keep(tier, family, rules[tier], listed)
        return Standing(
            generation=generation,
            answer=answer,
            default_action=found.default_action,
            addresses=found.addresses,
            rules=rules,
            total=found.total(),
            elements=_all_elements(raw),
            ports=dict(ports_of(listing.sets)),
            groups=groups,
        )

    def _keep(
        self, tier: Tier, family: Family, rules: Sequence[NodeRule], listed: Sequence[_Group]
    ) -> None:
        for rule, (_, group) in zip(rules, listed, strict=True):
            self._parsed[tier, family, _data(group)] = rule

    def _by_rule(self, rules: Sequence[RawRule]) -> list[_Group]:
        """Return what stands for one rule together, with its id."""
        return _grouped([self._translation.rule_of(each.expressions) for each in rules], rules)

    def _forget_set(self, standing: Standing, name: str) -> None:
        if self._netfilter.get(nl.GET_SET, self._named(name)) is not None:
            raise Surprise
        before = standing.elements.pop(name, NO_ELEMENTS)
        if name in standing.ports:
            del standing.ports[name]
            return
        self._account(standing, name, before.runs, ())
        # A set of ours is one for each family: its own term goes with the first.
        if name == address_set(_set_id(name), FAMILIES[0]):
            standing.total = (standing.total - set_term(_set_id(name))) % MODULUS

    def _read_set(self, standing: Standing, name: str, *, made: bool) -> None:
        if made:
            self._check_attributes(name)
        before = standing.elements.get(name, NO_ELEMENTS)
        after = before.after(reading.read_elements(self._netfilter, self._table, name))
        if after is None:
            raise Surprise
        standing.elements[name] = after
        if name.startswith(PORT_SET):
            ranges = tuple(intervals.to_ranges(reading.to_intervals(after.runs, 16)))
            if port_set(ranges) != name:
                raise Surprise
            standing.ports[name] = ranges
        elif name in (own_set(4), own_set(6)):
            own = {
                family: reading.to_intervals(standing.elements[own_set(family)].runs, BITS[family])
                for family in FAMILIES
            }
            standing.addresses = AddressSet(own[4], own[6]).cidrs()
        else:
            self._account(standing, name, before.runs, after.runs)
            if made and name == address_set(_set_id(name), FAMILIES[0]):
                standing.total = (standing.total + set_term(_set_id(name))) % MODULUS

    def _check_attributes(self, name: str) -> None:
        found = self._netfilter.get(nl.GET_SET, self._named(name))
        kind = "inet_service"
        if not name.startswith(PORT_SET):
            kind = "ipv6_addr" if name.endswith("_6") else "ipv4_addr"
        if found is None or reading.set_attributes(nl.attributes_of(found)) != {
            "type": kind,
            "flags": ["interval"],
        }:
            raise Surprise

    def _account(self, standing: Standing, name: str, before: Runs, after: Runs) -> None:
        """Take the terms of what has gone from the total, and add those of what has come."""
        which = _set_id(name)
        family: Family = 6 if name.endswith("_6") else 4
        gone, come = (
            members_total(which, _cidrs(family, tuple(runs)))
            for runs in members_difference(before, after)
        )
        standing.total = (standing.total - gone + come) % MODULUS

    def _read_tier(self, standing: Standing, tier: Tier) -> None:
        found: dict[Family, tuple[NodeRule, ...]] = {}
        for family in FAMILIES:
            name = tier_chain(tier, family)
            listed = self._by_rule(reading.read_rules(self._netfilter, self._table, name))
            found[family] = self._parse(standing, tier, family, listed)
            standing.groups[name] = [tuple(each.handle for each in group) for _, group in listed]
        if found[4] != found[6]:
            raise Surprise
        before = _in_order(standing.rules)
        standing.rules[tier] = found[4]
        after = _in_order(standing.rules)
        standing.total = (standing.total + _rules_difference(before, after)) % MODULUS

    def _parse(
        self, standing: Standing, tier: Tier, family: Family, listed: Sequence[_Group]
    ) -> tuple[NodeRule, ...]:
        result = []
        for number, group in listed:
            key = tier, family, _data(group)
            rule = self._parsed.get(key)
            if rule is None:
                rule = self._parsed[key] = self._parse_group(standing, number, *key)
            result.append(rule)
        return tuple(result)

    def _parse_group(
        self, standing: Standing, number: str, tier: Tier, family: Family, data: tuple[bytes, ...]
    ) -> NodeRule:
        listed = [self._translation.expressions(each) for each in data]
        try:
            rule = parse_rule(number, tier, listed, standing.ports, family)
        except Strange as exc:
            raise Surprise from exc
        if list(rule_expressions(rule, family, self._layout.log_group)) != listed:
            raise Surprise
        return rule

    def _named(self, name: str) -> bytes:
        return nl.text(1, self._table) + nl.text(2, name)


def _grouped(numbers: Sequence[str], rules: Sequence[RawRule]) -> list[_Group]:
    """Return rules with the same number in a row together."""
    paired = groupby(zip(numbers, rules, strict=True), key=itemgetter(0))
    return [(number, tuple(rule for _, rule in group)) for number, group in paired]


def _all_elements(found: RawTable) -> dict[str, Elements]:
    return {name: each.elements for name, each in found.sets.items() if each.elements is not None}


def _data(group: Sequence[RawRule]) -> tuple[bytes, ...]:
    return tuple(rule.expressions for rule in group)


def _set_id(name: str) -> str:
    return name[2:-2]


def _cidrs(family: Family, runs: Runs) -> tuple[str, ...]:
    found = reading.to_intervals(runs, BITS[family])
    return (AddressSet(v4=found) if family == 4 else AddressSet(v6=found)).cidrs()


def _in_order(rules: Mapping[Tier, tuple[NodeRule, ...]]) -> tuple[NodeRule, ...]:
    return tuple(rule for tier in TIERS for rule in rules[tier])


def _rules_difference(before: Sequence[NodeRule], after: Sequence[NodeRule]) -> int:
    """Return by how much the sum of rules' terms grows, from where the two differ."""
    start, tail = common_ends(before, after)
    # The rule behind the last difference follows another one, so its term is another.
    return rules_total(after, start, len(after) - tail + 1) - rules_total(
        before, start, len(before) - tail + 1
    )
