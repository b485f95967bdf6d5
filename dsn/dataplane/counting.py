"""The chains that count what staged policies would decide otherwise.  Pure.

Only a table whose configuration has something staged has them; `h_own_4` and `h_own_6` then jump
there before the tiers.  They give no verdict: whatever they find, the tiers judge the packet as if
they weren't there.  They lead by `goto` only, so that the end of any of them leads back.

    h_would_T_F                     the enforced rules of tier T and family F once more, without
                                    their counters: which way a packet goes from here
    h_would_deny_T_F                of packets that pass: the staged rules; one that would deny and
                                    is new counts it
    h_would_deny_since_T_F          of those that a rule would deny which isn't new: the staged
                                    rules, as far as new ones that pass on, which count it
    h_would_deny_without_T_F        of the rest: the enforced rules; one that goes counts it
    h_would_allow…                  the same of packets that don't pass
    h_wd_ID, h_wa_ID                named counters

Rules that can't match a packet of a changed rule are left out, for of other packets both sides say
the same; so are tiers without rules.  That matters: the kernel walks every way through the chains
when it checks a batch, so its time grows with the product of what is left on both sides.
"""

from collections.abc import Callable, Sequence
from typing import Final

from dsn.dataplane import ruleset
from dsn.dataplane.ruleset import (
    FAMILIES,
    Expressions,
    Layout,
    Table,
    address_set,
    own_chain,
    port_sets,
    rule_matches,
    set_content,
)
from shared.algebra import intervals
from shared.algebra.cidrs import AddressSet, Family, parse_cidrs
from shared.algebra.intervals import Intervals
from shared.policy.nodeconfig import TIERS, NodeConfiguration, NodeRule
from shared.policy.nodestaged import Would, changed_rules, counter_name

_COUNTER: Final[dict[Would, str]] = {"deny": "h_wd_", "allow": "h_wa_"}
_RETURN: Final[Expressions] = [{"return": None}]


def render(configuration: NodeConfiguration, layout: Layout) -> Table:
    """Return the table that enforces `configuration` and counts what is staged with it.

    Both have passed admissible.check().
    """
    table = ruleset.render(configuration, layout)
    staged = configuration.staged
    if staged is None:
        return table
    counting = _Counting(configuration, staged)
    chains = dict(table.chains)
    for family in FAMILIES:
        way, own = counting.chains(family)
        chains |= own
        chains[f"h_own_{family}"] = own_chain(
            family, configuration.default_action, before_tiers=_there_and_back(way)
        )
    sets = dict(table.sets)
    for name, cidrs in staged.sets.items():
        for family in FAMILIES:
            sets[address_set(name, family)] = set_content(family, cidrs)
    numbers = dict(each for rule in staged.rules for each in port_sets(rule))
    return Table(
        table.counters | counting.counters,
        sets,
        {**table.numbers, **numbers},
        chains,
    )


def reported_name(counter: str) -> str | None:
    """Return under which name the count of a named counter is reported; None if it is no such."""
    for would, prefix in _COUNTER.items():
        if counter.startswith(prefix):
            return counter_name(would, counter.removeprefix(prefix))
    return None


class _Counting:
    def __init__(self, enforced: NodeConfiguration, staged: NodeConfiguration) -> None:
        self._changed = changed_rules(enforced, staged)
        concerned = _Concerned(enforced, staged, self._changed.new, self._changed.gone)
        self._enforced = concerned.of(enforced)
        self._staged = concerned.of(staged)
        self._default = enforced.default_action
        ids = self._changed.new | self._changed.gone
        self.counters = frozenset(prefix + each for prefix in _COUNTER.values() for each in ids)

    def chains(self, family: Family) -> tuple[Expressions, dict[str, list[Expressions]]]:
        """Return how to go in, and the chains of a family."""
        chains = _Chains(family)
        ways: dict[Would, Expressions] = {
            would: self._way(would, chains) for would in ("deny", "allow")
        }
        # What passes could only be denied, what doesn't only be allowed.
        by_action = {"allow": ways["deny"], "deny": ways["allow"], "reject": ways["allow"]}

        def lead(rule: NodeRule, after: Expressions) -> Expressions:
            return by_action.get(rule.action, after)

        return chains.add("h_would", self._enforced, by_action[self._default], lead), chains.made

    def _way(self, would: Would, chains: "_Chains") -> Expressions:
        """Add the chains of what would be denied, or allowed; return how to go in."""
        wanted = ("allow",) if would == "allow" else ("deny", "reject")
        prefix, changed = f"h_would_{would}", self._changed

        def gone(rule: NodeRule, after: Expressions) -> Expressions:
            if rule.id in changed.gone:
                return _counted(would, rule.id)
            return after if rule.action == "pass" else _RETURN

        def passed(rule: NodeRule, after: Expressions) -> Expressions:
            if rule.action != "pass":
                return without
            return _counted(would, rule.id) if rule.id in changed.new else after

        def decided(rule: NodeRule, after: Expressions) -> Expressions:
            if rule.action == "pass":
                return after
            if rule.action not in wanted:
                return _RETURN
            return _counted(would, rule.id) if rule.id in changed.new else since

        without = _RETURN
        if changed.gone:
            without = chains.add(f"{prefix}_without", self._enforced, _RETURN, gone)
        since = without
        if any(rule.action == "pass" and rule.id in changed.new for rule in self._staged):
            since = chains.add(f"{prefix}_since", self._staged, without, passed)
        default = since if self._default in wanted else _RETURN
        return chains.add(prefix, self._staged, default, decided)


class _Concerned:
    """Finds the rules that may match a packet which a changed rule matches."""

    def __init__(
        self,
        enforced: NodeConfiguration,
        staged: NodeConfiguration,
        new: frozenset[str],
        gone: frozenset[str],
    ) -> None:
        self._sets = {**staged.sets, **enforced.sets}
        self._parsed: dict[str, AddressSet] = {}
        changed = [rule for rule in staged.rules if rule.id in new]
        changed += [rule for rule in enforced.rules if rule.id in gone]
        self._sources = self._united([rule.source for rule in changed])
        self._destinations = self._united([rule.destination for rule in changed])

    def of(self, configuration: NodeConfiguration) -> Sequence[NodeRule]:
        return [
            rule
            for rule in configuration.rules
            if any(
                self._meets(rule.source, self._sources, family)
                and self._meets(rule.destination, self._destinations, family)
                for family in FAMILIES
            )
        ]

    def _united(self, names: Sequence[str | None]) -> dict[Family, Intervals] | None:
        """Return the union of sets by family; None if one of them is any."""
        known = [name for name in dict.fromkeys(names) if name is not None]
        if len(known) < len(set(names)):
            return None
        return {
            family: intervals.union(*(self._addresses(name).of(family) for name in known))
            for family in FAMILIES
        }

    def _meets(self, name: str | None, of: dict[Family, Intervals] | None, family: Family) -> bool:
        if of is None:
            return True
        if name is None:
            return bool(of[family])
        return intervals.overlaps(self._addresses(name).of(family), of[family])

    def _addresses(self, name: str) -> AddressSet:
        if name not in self._parsed:
            self._parsed[name] = parse_cidrs(self._sets[name])
        return self._parsed[name]


class _Chains:
    """The chains of one family, as they are made."""

    def __init__(self, family: Family) -> None:
        self.made: dict[str, list[Expressions]] = {}
        self._family: Final = family

    def add(
        self,
        prefix: str,
        rules: Sequence[NodeRule],
        end: Expressions,
        outcome: Callable[[NodeRule, Expressions], Expressions],
    ) -> Expressions:
        """Add a chain for each tier that has rules; return how to go into the first.

        `outcome` says where a rule leads, given what comes after its tier; `end` is what comes
        after the last.
        """
        after = end
        for tier in reversed(TIERS):
            of_tier = [rule for rule in rules if rule.tier == tier]
            if not of_tier:
                continue
            name = f"{prefix}_{tier}_{self._family}"
            self.made[name] = [
                [*matches, *outcome(rule, after)]
                for rule in of_tier
                for matches in rule_matches(rule, self._family)
            ]
            self.made[name].append(after)
            after = [{"goto": {"target": name}}]
        return after


def _counted(would: Would, rule: str) -> Expressions:
    return [{"counter": _COUNTER[would] + rule}, *_RETURN]


def _there_and_back(way: Expressions) -> list[Expressions]:
    """Return the rule that goes this way and comes back; none if there is nowhere to go."""
    return [[{"jump": each["goto"]}] for each in way if "goto" in each]
