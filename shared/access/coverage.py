"""No one grants what he does not hold: what of some grants others don't cover.  Pure.

A grant is a set of cells (permission, tenant, scope), on all objects or on those that a selector
matches.  It is covered if each of its cells lies in a covering grant without a selector, or with
the same selector: then, whatever tenants and scopes there may be one day, whoever covers it holds
on every object what it gives.  Of selectors only the text is compared, so that one that is merely
narrower counts as another; that refuses too much, never too little.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shared.access.book import Atom, Book
from shared.auth.identity import Grant

# In a sentence; the rest is counted.
_NAMED: Final = 6

_REST: Final = None
"""Stands for every tenant, or scope, that no grant names."""


@dataclass(frozen=True, slots=True)
class Lack:
    """Permissions that aren't covered somewhere; None: in all that isn't named elsewhere."""

    permissions: frozenset[str]
    tenant: str | None
    scope: str | None
    selector: str | None

    def __str__(self) -> str:
        names = sorted(self.permissions)
        more = len(names) - _NAMED
        shown = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        tenant = f"tenant {self.tenant}" if self.tenant else "every tenant"
        scope = f"scope {self.scope}" if self.scope else "every scope"
        on = f" on objects with {self.selector}" if self.selector else ""
        return f"{shown} in {tenant}, {scope}{on}"


def lacks(needed: Iterable[Grant], held: Sequence[Grant]) -> Iterator[Lack]:
    """Yield what of the `needed` grants the `held` ones don't cover, each cell once."""
    wanted = list(dict.fromkeys(needed))
    tenants = _named(each.tenants for each in (*wanted, *held))
    scopes = _named(each.scopes for each in (*wanted, *held))
    told: set[Lack] = set()
    for grant in wanted:
        counting = [each for each in held if each.labels is None or _same(each, grant)]
        covering = [each for each in counting if each.permissions & grant.permissions]
        for tenant in _cells(grant.tenants, tenants):
            for scope in _cells(grant.scopes, scopes):
                missing = grant.permissions.difference(
                    *(each.permissions for each in covering if _reaches(each, tenant, scope))
                )
                lack = Lack(missing, tenant, scope, grant.selector)
                if missing and lack not in told:
                    told.add(lack)
                    yield lack


def gains(before: Book, after: Book) -> Iterator[tuple[Atom, Sequence[Grant], Sequence[Grant]]]:
    """Yield, per atom that `after` assigns more to, all that it is assigned and was before."""
    for atom, grants in after.assigned.items():
        had = before.assigned.get(atom, ())
        if any(each not in had for each in grants):
            yield atom, grants, had


def woken(before: Book, after: Book, passwords: Iterable[str] = ()) -> dict[Atom, Sequence[Grant]]:
    """Return what accounts come into by being made, enabled or given another password.

    `passwords` are the users whose password is written.  Of a user who was disabled nobody knows
    here in which groups the directories have him, so that it is what any group may do.
    """
    users = {key.name for key in after.objects if key.kind == "User"}
    made = users - {key.name for key in before.objects if key.kind == "User"}
    enabled = before.disabled_users - after.disabled_users
    atoms = {
        Atom("User", name) for name in (made - after.disabled_users) | enabled | set(passwords)
    }
    atoms |= {Atom("ServiceAccount", each) for each in after.live_programs - before.live_programs}
    if enabled:
        atoms |= {atom for atom in after.assigned if atom.kind == "Group"}
    return {atom: after.assigned[atom] for atom in sorted(atoms) if after.assigned.get(atom)}


def _same(one: Grant, other: Grant) -> bool:
    return one.selector is not None and one.selector == other.selector


def _named(sets: Iterable[frozenset[str] | None]) -> frozenset[str]:
    return frozenset[str]().union(*(each for each in sets if each is not None))


def _cells(granted: frozenset[str] | None, named: frozenset[str]) -> Sequence[str | None]:
    return sorted(granted) if granted is not None else [_REST, *sorted(named)]


def _reaches(grant: Grant, tenant: str | None, scope: str | None) -> bool:
    return (grant.tenants is None or tenant in grant.tenants) and (
        grant.scopes is None or scope in grant.scopes
    )
