"""What somebody holds at a site by the federation's roles alone.  Pure.

For questions that the FSM passes on: the site's own roles give nothing more then.  They may take
away: who is disabled here as a user is shown nothing, whoever asks in his name.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from shared.access.book import Atom, Book, normal_group
from shared.auth.delegation import Asker
from shared.auth.identity import CallerKind, Grant
from shared.ids import COMMON
from shared.model.access import RoleBinding


def flowed_grants(book: Book, asker: Asker) -> tuple[Grant, ...]:
    """Return what the roles and bindings that flowed down give to somebody, equal ones once."""
    if asker.kind is CallerKind.SERVICE_ACCOUNT:
        found = _given(book, [Atom("ServiceAccount", asker.name)])
        tenant = asker.name.partition("/")[0]
        # As for its own token: a tenant's program stays within the tenant.
        return found if tenant == COMMON else tuple(_within(each, tenant) for each in found)
    if asker.name in book.disabled_users:
        return ()
    groups = sorted({normal_group(each) for each in asker.groups})
    return _given(book, [Atom("User", asker.name), *(Atom("Group", each) for each in groups)])


def groups_that_flow(book: Book, groups: Iterable[str]) -> frozenset[str]:
    """Return those of somebody's groups that a binding which flows down names, at the FSM."""
    named = {
        normal_group(subject.name)
        for spec in book.objects.values()
        if isinstance(spec, RoleBinding) and spec.flows_down
        for subject in spec.subjects
        if subject.kind == "Group"
    }
    return frozenset(each for each in groups if normal_group(each) in named)


def _given(book: Book, atoms: Iterable[Atom]) -> tuple[Grant, ...]:
    flowed = _flowed(book)
    return tuple(dict.fromkeys(grant for atom in atoms for grant in flowed.assigned.get(atom, ())))


@lru_cache(maxsize=2)
def _flowed(book: Book) -> Book:
    """Return the book as it would be if the site had written nothing of its own."""
    inherited = {key: spec for key, spec in book.objects.items() if book.is_inherited(key)}
    return Book(inherited, is_site=True)


def _within(grant: Grant, tenant: str) -> Grant:
    return replace(grant, tenants=frozenset({tenant})) if grant.tenants is None else grant
