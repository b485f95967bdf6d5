"""Networks that share addresses or a VLAN though rules treat them differently.

Held so that a changed network costs one look at each of the others, and a changed rule only the
networks that share something with those it names.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final, Literal, NamedTuple, cast

from shared.algebra.cidrs import AddressSet, Family
from shared.model.network import Network
from shared.policy.definitions import Name
from shared.policy.plan import Plan
from shared.policy.resolve import Addresses, cidr_addresses

_FAMILIES: Final[tuple[Family, ...]] = (4, 6)

_FEW: Final = 16
_SHARE: Final = 10
"""If more networks change than one in so many, making all anew is cheaper (a guess)."""

Part = Literal["same", "inside", "around", "partly", "nothing"]


class Use(NamedTuple):
    """A rule that names a network, and in which of its lists."""

    tenant: str
    policy: str
    rule: str
    side: Literal["from", "to"]


@dataclass(frozen=True, slots=True)
class UsedNetwork:
    """A network that installed rules name, as a view sees it."""

    name: Name
    addresses: AddressSet
    vlan: int | None
    uses: frozenset[Use]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two networks with different rules that share addresses or a VLAN.

    `one` is the lesser name.  `part` says how its addresses lie to those of the other; `shared`
    are those of both.  `vlan` is the one that both have, if it is one.
    """

    one: Name
    other: Name
    part: Part
    shared: AddressSet
    vlan: int | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a change did to overlaps.  One that is another now has closed and opened."""

    opened: tuple[Overlap, ...]
    closed: tuple[Overlap, ...]


_Pair = tuple[Name, Name]


def used_networks(plan: Plan) -> list[UsedNetwork]:
    """Return the networks that a plan's installed rules name, selected ones too, by name."""
    uses: dict[Name, set[Use]] = {}
    specs: dict[Name, Network] = {}
    for rule in plan.rules:
        sides: tuple[tuple[Literal["from", "to"], Addresses | None], ...] = (
            ("from", rule.source),
            ("to", rule.destination),
        )
        for side, addresses in sides:
            for used in addresses.names if addresses is not None else ():
                kind, _, text = used.reference.partition(":")
                name = Name(kind.capitalize(), used.tenant, text)
                specs[name] = cast("Network", used.effective.spec)
                uses.setdefault(name, set()).add(Use(rule.tenant, rule.policy, rule.rule, side))
    return [
        UsedNetwork(name, cidr_addresses(spec.subnets), spec.vlan, frozenset(uses[name]))
        for name, spec in sorted(specs.items(), key=lambda each: each[0])
    ]


class Overlaps:
    """The overlaps among a view's networks: `overlapping_networks`.

    ValueError where two networks have one name.
    """

    def __init__(self, networks: Iterable[UsedNetwork]) -> None:
        self._load(_by_name(networks))

    @property
    def findings(self) -> Iterator[Overlap]:
        """The overlaps, in order of names."""
        for _, found in sorted(self._found.items(), key=lambda each: each[0]):
            yield found

    def change(self, changed: Mapping[Name, UsedNetwork | None]) -> None:
        """Follow to what some networks are now; None is one that is used no more."""
        wanted = {**self._networks}
        for name, each in changed.items():
            if each is None:
                wanted.pop(name, None)
            else:
                wanted[name] = each
        gone = [name for name, each in changed.items() if each is None and name in self._networks]
        came = [name for name, each in changed.items() if each is not None]
        if len(gone) + len(came) > max(_FEW, len(wanted) // _SHARE):
            self._load(wanted)
        else:
            self._follow(wanted, gone, came)

    def update(self, networks: Iterable[UsedNetwork]) -> Changes:
        """Follow to what the networks are now; find out what changed, and tell what came of it."""
        wanted = _by_name(networks)
        old = self._networks
        gone = [name for name in old if name not in wanted]
        changed = [name for name, each in wanted.items() if old.get(name) != each]
        before: Mapping[_Pair, Overlap]
        after: Mapping[_Pair, Overlap]
        if len(gone) + len(changed) > max(_FEW, len(wanted) // _SHARE):
            before = self._found
            self._load(wanted)
            after = self._found
        else:
            before, after = self._follow(wanted, gone, changed)
        return Changes(
            tuple([found for pair, found in sorted(after.items()) if before.get(pair) != found]),
            tuple([found for pair, found in sorted(before.items()) if after.get(pair) != found]),
        )

    def _load(self, networks: dict[Name, UsedNetwork]) -> None:
        self._networks = networks
        self._sharing: dict[Name, set[Name]] = {name: set() for name in networks}
        self._on_vlan: dict[int, set[Name]] = {}
        self._found: dict[_Pair, Overlap] = {}
        for family in _FAMILIES:
            for name, other in _sharing(networks.values(), family):
                self._sharing[name].add(other)
                self._sharing[other].add(name)
        for name, each in networks.items():
            if each.vlan is not None:
                self._on_vlan.setdefault(each.vlan, set()).add(name)
        for name in networks:
            self._compare(name)

    def _follow(
        self, wanted: dict[Name, UsedNetwork], gone: list[Name], changed: list[Name]
    ) -> tuple[dict[_Pair, Overlap], dict[_Pair, Overlap]]:
        """Follow single changes; return what was found about what changed, and what is now."""
        before: dict[_Pair, Overlap] = {}
        old = self._networks
        self._networks = wanted
        moved = []
        for name in (*gone, *changed):
            known = old.get(name)
            new = wanted.get(name)
            if known is not None:
                self._forget(known, before)
            if known is None or new is None or known.addresses != new.addresses:
                for other in self._sharing.pop(name, ()):
                    self._sharing[other].discard(name)
                if new is not None:
                    self._sharing[name] = set()
                    moved.append(name)
        for name in moved:
            self._look_for(name)
        for name in changed:
            vlan = wanted[name].vlan
            if vlan is not None:
                self._on_vlan.setdefault(vlan, set()).add(name)
        after: dict[_Pair, Overlap] = {}
        for name in changed:
            after |= self._compare(name)
        return before, after

    def _forget(self, known: UsedNetwork, before: dict[_Pair, Overlap]) -> None:
        for other in self._beside(known):
            pair = _pair(known.name, other)
            found = self._found.pop(pair, None)
            if found is not None:
                before[pair] = found
        if known.vlan is not None:
            mates = self._on_vlan[known.vlan]
            mates.discard(known.name)
            if not mates:
                del self._on_vlan[known.vlan]

    def _look_for(self, name: Name) -> None:
        """Find who shares addresses with a network."""
        addresses = self._networks[name].addresses
        for other, each in self._networks.items():
            if other != name and addresses.overlaps(each.addresses):
                self._sharing[name].add(other)
                self._sharing[other].add(name)

    def _beside(self, network: UsedNetwork) -> set[Name]:
        """Return the networks that share addresses or a VLAN with one."""
        mates = self._on_vlan.get(network.vlan, set()) if network.vlan is not None else set()
        return (self._sharing[network.name] | mates) - {network.name}

    def _compare(self, name: Name) -> dict[_Pair, Overlap]:
        """Note the overlaps of a network, and return them."""
        found = {}
        for other in self._beside(self._networks[name]):
            pair = _pair(name, other)
            one, two = self._networks[pair[0]], self._networks[pair[1]]
            if one.uses != two.uses:
                found[pair] = self._found[pair] = _overlap(one, two)
        return found


def _sharing(networks: Iterable[UsedNetwork], family: Family) -> Iterator[_Pair]:
    """Yield which networks share addresses of a family, some more than once.

    One sweep over all runs in order of where they begin: each meets those that are open then.
    """
    runs = sorted(
        (start, end, each.name)
        for each in networks
        for values in [each.addresses.of(family)]
        for start, end in zip(values[::2], values[1::2], strict=True)
    )
    are_open: list[tuple[int, Name]] = []
    for start, end, name in runs:
        while are_open and are_open[0][0] <= start:
            heappop(are_open)
        for _, other in are_open:
            yield name, other
        heappush(are_open, (end, name))


def _overlap(one: UsedNetwork, other: UsedNetwork) -> Overlap:
    shared = one.addresses.intersection(other.addresses)
    vlan = one.vlan if one.vlan == other.vlan else None
    return Overlap(
        one.name, other.name, _part(one.addresses, other.addresses, shared), shared, vlan
    )


def _part(one: AddressSet, other: AddressSet, shared: AddressSet) -> Part:
    """Return how addresses lie to others, by those families of which both have some in common.

    What a campus has of IPv4 only is around a network in it that has IPv6 as well.
    """
    families = [family for family in _FAMILIES if shared.of(family)]
    if not families:
        return "nothing"
    is_inside = all(shared.of(family) == one.of(family) for family in families)
    is_around = all(shared.of(family) == other.of(family) for family in families)
    if is_inside and is_around:
        return "same"
    if is_inside:
        return "inside"
    return "around" if is_around else "partly"


def _pair(one: Name, other: Name) -> _Pair:
    return (one, other) if one < other else (other, one)


def _by_name(networks: Iterable[UsedNetwork]) -> dict[Name, UsedNetwork]:
    found: dict[Name, UsedNetwork] = {}
    for each in networks:
        if each.name in found:
            raise ValueError(f"two networks are called {each.name.tenant}/{each.name.name}")
        found[each.name] = each
    return found
