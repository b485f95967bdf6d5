"""The overlaps among the networks of a view's rules, following those rules change by change."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

from shared.algebra.cidrs import AddressSet
from shared.policy.definitions import Name
from shared.policy.overlaps import Overlaps, Use, UsedNetwork
from shared.policy.shadows.rules import ResolvedRule

_SIDES: Final[tuple[Literal["from", "to"], ...]] = ("from", "to")


class Meaning(Protocol):
    """What a network's name means."""

    @property
    def addresses(self) -> AddressSet: ...

    @property
    def vlan(self) -> int | None: ...


Meanings = Mapping[Name, Meaning | None]


class FollowedOverlaps:
    """Holds overlaps up to date with rules and meanings; both are the same objects again as long
    as they are the same.
    """

    def __init__(self) -> None:
        self.overlaps: Final = Overlaps([])
        self._rules: dict[int, ResolvedRule] = {}
        """The rules of the last time, by identity."""
        self._meanings: Meanings = {}
        self._uses: Final[dict[Name, dict[Use, None]]] = {}

    def update(self, rules: Sequence[ResolvedRule], meanings: Meanings) -> None:
        """Follow to what the rules and the names in them are now."""
        before, now = self._rules, {id(each): each for each in rules}
        touched: dict[Name, None] = {}
        for number, rule in before.items():
            if number not in now:
                self._count(rule, touched, present=False)
        for number, rule in now.items():
            if number not in before:
                self._count(rule, touched, present=True)
        for name in self._uses:
            if meanings.get(name) is not self._meanings.get(name):
                touched[name] = None
        self._rules, self._meanings = now, meanings
        if touched:
            self.overlaps.change({name: self._used(name) for name in touched})

    def _count(self, rule: ResolvedRule, touched: dict[Name, None], *, present: bool) -> None:
        name = rule.name
        for side, networks in zip(_SIDES, rule.networks, strict=True):
            use = Use(name.tenant, name.policy, name.rule, side)
            for network in networks:
                touched[network] = None
                uses = self._uses.setdefault(network, {})
                if present:
                    uses[use] = None
                else:
                    uses.pop(use, None)
                if not uses:
                    del self._uses[network]

    def _used(self, name: Name) -> UsedNetwork | None:
        uses, meaning = self._uses.get(name), self._meanings.get(name)
        if not uses or meaning is None:
            return None
        return UsedNetwork(name, meaning.addresses, meaning.vlan, frozenset(uses))
