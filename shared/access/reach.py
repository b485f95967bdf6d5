"""How far a permission reaches, for answers that are put together from many objects.  Pure.

An object is seen by the very rule of shared.access.authorize: its tenant, scope and labels in one
place of those in which the permission is held.  Sites and nodes are in no tenant's hands and in no
scope of policy: whoever holds the permission anywhere sees them, and with a selector those that it
matches.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from shared.access.authorize import Holder, holding
from shared.access.permissions import Permission
from shared.auth.identity import Grant, Labels, union_of
from shared.ids import Key

# As of shared.access.authorize: a few for each role that people hold.
_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """Tenants, scopes and labels in which a permission is held; None: all.

    `labels` is what `selector` means, as of a Grant.
    """

    tenants: frozenset[str] | None = None
    scopes: frozenset[str] | None = None
    selector: str | None = None
    labels: Labels | None = field(default=None, compare=False)

    def has_tenant(self, tenant: str) -> bool:
        return self.tenants is None or tenant in self.tenants

    def has(self, tenant: str, scope: str, labels: Mapping[str, str] | None) -> bool:
        """Return whether an object lies in it; labels None: one whose labels nobody knows."""
        return (
            self.has_tenant(tenant)
            and (self.scopes is None or scope in self.scopes)
            and (self.labels is None or (labels is not None and self.labels(labels)))
        )


@dataclass(frozen=True, slots=True)
class Reach:
    """All places in which somebody holds a permission."""

    places: tuple[Place, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is out of reach."""
        return Place() in self.places

    @property
    def tenants(self) -> frozenset[str] | None:
        """The tenants in which anything at all is in reach; None: all."""
        return union_of(each.tenants for each in self.places)

    @property
    def full_tenants(self) -> frozenset[str] | None:
        """The tenants in which everything is in reach; None: all."""
        return union_of(
            each.tenants for each in self.places if each.scopes is None and each.labels is None
        )

    def sees(self, key: Key, labels: Mapping[str, str] | None) -> bool:
        """Return whether an object is in reach; labels None: if that is so whatever they are."""
        return any(each.has(key.tenant, key.scope, labels) for each in self.places)

    def places_of(self, key: Key, labels: Mapping[str, str]) -> tuple[Place, ...]:
        """Return the places in which an object lies."""
        return tuple(each for each in self.places if each.has(key.tenant, key.scope, labels))

    def sees_machine(self, labels: Mapping[str, str] | None) -> bool:
        """Return whether a site or a node is in reach; labels None: if nobody knows them."""
        return any(
            each.labels is None or (labels is not None and each.labels(labels))
            for each in self.places
        )


WHOLE: Final = Reach((Place(),))


def reach_of(caller: Holder, permission: Permission) -> Reach:
    """Return how far a caller's permission reaches."""
    return _reach(tuple(caller.grants), permission)


@lru_cache(maxsize=_REMEMBERED)
def _reach(grants: tuple[Grant, ...], permission: Permission) -> Reach:
    return Reach(_united(holding(grants, permission)))


def _united(grants: Iterable[Grant]) -> tuple[Place, ...]:
    """Return the places of grants; those that differ in their tenants alone are one."""
    found: dict[tuple[frozenset[str] | None, str | None], list[Grant]] = {}
    for each in grants:
        found.setdefault((each.scopes, each.selector), []).append(each)
    places = [
        Place(union_of(each.tenants for each in same), *of, same[0].labels)
        for of, same in found.items()
    ]
    return tuple(sorted(places, key=_order))


def _order(place: Place) -> tuple[list[str], str]:
    return sorted(place.scopes or ()), place.selector or ""
