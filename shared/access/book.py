"""Who holds what, worked out from Roles, RoleBindings and accounts.  Pure.

A Book is all that is known at one moment; a change makes another one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import orjson

from shared.access.permissions import ROLES, current_role, permissions_of
from shared.auth.distinguished import folded, normalised_dn
from shared.auth.identity import CallerKind, Grant, Labels, Subject
from shared.ids import COMMON, Key
from shared.model.access import Role, RoleBinding, ServiceAccount, User
from shared.model.access import Subject as Named
from shared.model.base import Spec
from shared.model.builtin_roles import BUILT_IN_ROLES
from shared.model.selectors import Selector
from shared.model.verbs import EVERY
from shared.policy.inputs import is_inherited_scope

ACCESS_KINDS: Final = frozenset({"Role", "RoleBinding", "User", "ServiceAccount"})
"""The kinds that say who holds what."""


class Atom(NamedTuple):
    """One thing that a binding may name: a user, a group or a service account.

    A person is one User and any number of Groups.
    """

    kind: Literal["User", "Group", "ServiceAccount"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Account:
    """An account that a server keeps by itself, with built-in roles: the one that `init` makes."""

    roles: tuple[str, ...]
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    """One of a role's grants, worked out: what is allowed, and where."""

    permissions: frozenset[str]
    tenants: frozenset[str] | None
    scopes: frozenset[str] | None
    selector: str | None
    labels: Labels | None


class Book:
    def __init__(
        self,
        objects: Mapping[Key, Spec],
        accounts: Mapping[str, Account] | None = None,
        *,
        is_site: bool = False,
    ) -> None:
        """`objects` are those of ACCESS_KINDS; at a site some of them are the federation's."""
        self._objects = dict(objects)
        self._accounts = dict(accounts or {})
        self._is_site = is_site
        self._roles = self._expanded()
        self._assigned = self._assign()
        self._disabled = frozenset(
            key.name
            for key, spec in self._objects.items()
            if isinstance(spec, User) and spec.disabled
        ) | {name for name, each in self._accounts.items() if each.disabled}
        self._programs = frozenset(
            f"{key.tenant}/{key.name}"
            for key, spec in self._objects.items()
            if isinstance(spec, ServiceAccount) and not spec.disabled
        )

    @property
    def objects(self) -> Mapping[Key, Spec]:
        return self._objects

    @property
    def accounts(self) -> Mapping[str, Account]:
        return self._accounts

    @property
    def assigned(self) -> Mapping[Atom, Sequence[Grant]]:
        """What each atom is given by the bindings and by its account, whether it is live or not."""
        return self._assigned

    @property
    def disabled_users(self) -> frozenset[str]:
        return self._disabled

    @property
    def live_programs(self) -> frozenset[str]:
        """The service accounts that are there and not disabled, as TENANT/NAME."""
        return self._programs

    def changed(self, put: Mapping[Key, Spec] | None = None, delete: Iterable[Key] = ()) -> "Book":
        """Return the book as it is after some objects were written and others deleted."""
        objects = dict(self._objects)
        for key in delete:
            objects.pop(key, None)
        objects.update(put or {})
        return Book(objects, self._accounts, is_site=self._is_site)

    def with_accounts(self, accounts: Mapping[str, Account]) -> "Book":
        return Book(self._objects, accounts, is_site=self._is_site)

    def grants_of(self, subject: Subject) -> tuple[Grant, ...]:
        """See shared.auth.identity.GrantSource."""
        if subject.kind is CallerKind.SERVICE_ACCOUNT:
            if subject.name not in self._programs:
                return ()
            return self._united([Atom("ServiceAccount", subject.name)])
        if subject.kind is not CallerKind.PERSON or subject.name in self._disabled:
            return ()
        groups = sorted({normal_group(each) for each in subject.groups})
        return self._united([Atom("User", subject.name), *(Atom("Group", g) for g in groups)])

    def has_role(self, name: str, *, inherited: bool = False) -> bool:
        """Return whether a binding finds such a role; an `inherited` one only inherited roles."""
        return self._role(name, inherited=inherited) is not None

    def is_inherited(self, key: Key) -> bool:
        return self._is_site and is_inherited_scope(key.scope)

    def _united(self, atoms: Iterable[Atom]) -> tuple[Grant, ...]:
        found = (grant for atom in atoms for grant in self._assigned.get(atom, ()))
        return tuple(sorted(dict.fromkeys(found), key=lambda each: (each.binding, each.role)))

    def _expanded(self) -> dict[tuple[str, bool], tuple[_Part, ...]]:
        return {
            (key.name, self.is_inherited(key)): _parts_of(spec)
            for key, spec in self._objects.items()
            if isinstance(spec, Role)
        }

    def _role(self, name: str, *, inherited: bool) -> Sequence[_Part] | None:
        """Return what a binding means by a role's name.

        The built-in ones can't be hidden.  What comes from upstream means upstream's roles.  A
        site's own binding means the site's own role, also if upstream's of that name came later,
        so that nobody gets more by a coincidence of names.
        """
        if name in _BUILT_IN:
            return _BUILT_IN[name]
        own = None if inherited else self._roles.get((name, False))
        return own if own is not None else self._roles.get((name, True))

    def _assign(self) -> dict[Atom, list[Grant]]:
        assigned: dict[Atom, list[Grant]] = {}
        for key, spec in sorted(self._objects.items()):
            if not isinstance(spec, RoleBinding):
                continue
            parts = self._role(spec.role, inherited=self.is_inherited(key)) or ()
            grants = _granted(key.name, spec, parts)
            for atom in dict.fromkeys(map(atom_of, spec.subjects)):
                assigned.setdefault(atom, []).extend(grants)
        for name, account in self._accounts.items():
            own = [
                Grant(role, ROLES[role])
                for role in map(current_role, account.roles)
                if role in ROLES
            ]
            assigned.setdefault(Atom("User", name), []).extend(own)
        return assigned


def atom_of(subject: Named) -> Atom:
    """Return whom a binding's subject means; a service account without a tenant is of common."""
    if subject.kind == "ServiceAccount":
        name = subject.name if "/" in subject.name else f"{COMMON}/{subject.name}"
        return Atom("ServiceAccount", name)
    if subject.kind == "Group":
        return Atom("Group", normal_group(subject.name))
    return Atom("User", subject.name)


def normal_group(name: str) -> str:
    """Return a group's name in the spelling that is compared: without case, a DN as one form."""
    try:
        return normalised_dn(name) if "=" in name else folded(name)
    except ValueError:
        return folded(name)


def canonical_selector(selector: Selector) -> str | None:
    """Return a selector's text, the same for the same terms in any order; None: selects all."""
    if not selector.match_labels and not selector.match_expressions:
        return None
    terms = {
        (each.key, each.operator, tuple(sorted(set(each.values))))
        for each in selector.match_expressions
    }
    terms |= {(key, "In", (value,)) for key, value in selector.match_labels.items()}
    return orjson.dumps(sorted(terms)).decode()


def _parts_of(role: Role) -> tuple[_Part, ...]:
    parts: dict[tuple[frozenset[str] | None, frozenset[str] | None, str | None], _Part] = {}
    for grant in role.grants:
        tenants, scopes = _set_of(grant.tenants), _set_of(grant.scopes)
        selector = canonical_selector(grant.selector)
        permissions = permissions_of(grant.verbs, grant.kinds)
        known = parts.get((tenants, scopes, selector))
        if known is not None:
            permissions |= known.permissions
        labels = grant.selector.matches if selector is not None else None
        part = _Part(permissions, tenants, scopes, selector, labels)
        parts[tenants, scopes, selector] = part
    return tuple(parts.values())


def _granted(binding: str, spec: RoleBinding, parts: Iterable[_Part]) -> list[Grant]:
    found = []
    for part in parts:
        tenants = _both(part.tenants, _set_of(spec.tenants))
        scopes = _both(part.scopes, _set_of(spec.scopes))
        if part.permissions and tenants != frozenset() and scopes != frozenset():
            found.append(
                Grant(
                    spec.role,
                    part.permissions,
                    tenants,
                    scopes,
                    part.selector,
                    part.labels,
                    binding,
                )
            )
    return found


def _set_of(written: Sequence[str]) -> frozenset[str] | None:
    return None if EVERY in written else frozenset(written)


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


_BUILT_IN: Final = {name: _parts_of(each.spec) for name, each in BUILT_IN_ROLES.items()}
