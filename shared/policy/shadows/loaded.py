"""The resolved rules of a view that is kept loaded, ready for shadows to follow."""

from typing import Final

from shared.algebra import intervals
from shared.algebra.cidrs import AddressSet
from shared.algebra.intervals import Intervals
from shared.algebra.ports import PortMatch
from shared.policy.definitions import Name
from shared.policy.loaded.rules import Rule
from shared.policy.loaded.sides import Side
from shared.policy.loaded.view import LoadedView
from shared.policy.nodeconfig import NodeService
from shared.policy.shadows.rules import ResolvedRule, RuleName

_Ends = tuple[AddressSet | None, AddressSet | None, AddressSet | None]
_Names = frozenset[Name]
_NO_NAMES: Final[_Names] = frozenset()


class LoadedRules:
    """A view's rules.  Those that are as they were last time are the same objects again."""

    def __init__(self, view: LoadedView) -> None:
        self._view: Final = view
        self._known: dict[Rule, ResolvedRule] = {}
        self._services: Final[dict[tuple[NodeService, ...], tuple[PortMatch, ...]]] = {}

    def current(self) -> list[ResolvedRule]:
        """Return the installed rules, in order of evaluation."""
        before, self._known = self._known, {}
        for policy in sorted(self._view.policies.values(), key=lambda each: each.order):
            bound = _addresses(policy.bound)
            for rule in policy.rules:
                if not rule.is_installed:
                    continue
                ends = (_addresses(rule.source), _addresses(rule.destination), bound)
                names = (_names(rule.source), _names(rule.destination))
                resolved = before.get(rule)
                if resolved is None or not _has(resolved, ends, names):
                    resolved = self._resolved(rule, ends, names)
                self._known[rule] = resolved
        return [*self._known.values()]

    def _resolved(self, rule: Rule, ends: _Ends, names: tuple[_Names, _Names]) -> ResolvedRule:
        policy = rule.policy
        name = RuleName(
            policy.tier,
            policy.name.tenant,
            policy.name.name,
            rule.data["name"],
            policy.origin,
            rule.data["action"],
        )
        source, destination, within = ends
        return ResolvedRule(name, source, destination, self._matches(rule.matches), within, names)

    def _matches(self, services: tuple[NodeService, ...] | None) -> tuple[PortMatch, ...] | None:
        if services is None:
            return None
        if services not in self._services:
            self._services[services] = tuple(
                [
                    PortMatch(each.protocol, _ports(each.ports), _ports(each.source_ports))
                    for each in services
                ]
            )
        return self._services[services]


def _addresses(side: Side | None) -> AddressSet | None:
    return None if side is None else side.addresses


def _names(side: Side | None) -> _Names:
    return _NO_NAMES if side is None else side.names


def _has(rule: ResolvedRule, ends: _Ends, names: tuple[_Names, _Names]) -> bool:
    source, destination, within = ends
    return (
        rule.source is source
        and rule.destination is destination
        and rule.within is within
        and rule.networks[0] is names[0]
        and rule.networks[1] is names[1]
    )


def _ports(ranges: tuple[tuple[int, int], ...] | None) -> Intervals | None:
    return None if ranges is None else intervals.from_ranges(ranges)
