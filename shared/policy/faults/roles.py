"""Faults of Roles and RoleBindings: words that mean nothing, and roles that nobody has."""

from collections.abc import Iterator, Sequence
from typing import Final

from shared.model.access import Grant, Role, RoleBinding
from shared.model.builtin_roles import BUILT_IN_ROLES
from shared.model.kinds import KINDS, PLURALS
from shared.model.schema import suggestion
from shared.model.source import quoted
from shared.model.verbs import EVERY, READ, READ_ONLY_KINDS, SPECIAL_VERBS, VERBS
from shared.policy.faults.fault import Fault, Reference
from shared.policy.inputs import Document, Documents
from shared.policy.scopes import level_of

_KINDS: Final = (*KINDS, *READ_ONLY_KINDS)


def role_faults(documents: Documents) -> Iterator[Fault]:
    """Yield what Roles and RoleBindings say that can't be meant, each by itself."""
    for document in documents.of_kind("Role", "RoleBinding"):
        spec = document.spec
        if isinstance(spec, Role):
            if document.key.name in BUILT_IN_ROLES:
                message = f"{document.key.name} is a built-in role; give this one another name"
                yield Fault(document, "metadata.name", "role_exists", message)
            for place, grant in enumerate(spec.grants):
                yield from _grant(document, f"spec.grants[{place}]", grant)
        elif isinstance(spec, RoleBinding):
            yield from _scopes(document, "spec", spec.scopes)


def binding_faults(own: Documents, inherited: Documents) -> Iterator[Fault]:
    """Yield the RoleBindings that find no role (`unknown_role`), or none at sites (`role_stays`).

    `own` are all documents of one server.  `inherited` are the federation's, if that server is a
    site's; their roles are known there if they flow down.
    """
    flowing = {name for name, role in _roles(inherited) if role.flows_down}
    flowing |= {name for name, role in _roles(own) if role.flows_down} | set(BUILT_IN_ROLES)
    known = flowing | {name for name, _ in _roles(own)}
    for document in own.of_kind("RoleBinding"):
        spec = document.spec
        if not isinstance(spec, RoleBinding):
            continue
        if spec.role not in known:
            message = f"there is no role {spec.role} here{suggestion(spec.role, sorted(known))}"
            refers = Reference("Role", spec.role)
            yield Fault(document, "spec.role", "unknown_role", message, refers)
        elif spec.flows_down and spec.role not in flowing:
            message = (
                f"the role {spec.role} doesn't flow down, and this binding would mean nothing at "
                "sites; let both flow down, or neither"
            )
            yield Fault(document, "spec.flowsDown", "role_stays", message)


def _roles(documents: Documents) -> Iterator[tuple[str, Role]]:
    for document in documents.of_kind("Role"):
        if isinstance(document.spec, Role):
            yield document.key.name, document.spec


def _grant(document: Document, path: str, grant: Grant) -> Iterator[Fault]:
    for place, verb in enumerate(grant.verbs):
        at = f"{path}.verbs[{place}]"
        if verb not in VERBS and verb != EVERY:
            message = f"there is no verb {quoted(verb)}{suggestion(verb, VERBS)}"
            yield Fault(document, at, "unknown_verb", f"{message}; the verbs are {_list(VERBS)}")
        elif verb in SPECIAL_VERBS and EVERY not in grant.kinds:
            message = (
                f"{verb} concerns no one kind, so that these kinds don't limit it; give it in a "
                'grant of its own with kinds ["*"]'
            )
            yield Fault(document, at, "kinds_dont_limit", message)
    reads = READ in grant.verbs or EVERY in grant.verbs
    for place, kind in enumerate(grant.kinds):
        at = f"{path}.kinds[{place}]"
        if kind not in _KINDS and kind != EVERY:
            known = PLURALS[kind].name if kind in PLURALS else None
            hint = f'; did you mean "{known}"?' if known else suggestion(kind, _KINDS)
            message = f"there is no kind {quoted(kind)}{hint}"
            yield Fault(document, at, "unknown_kind", message)
        elif kind in READ_ONLY_KINDS and not reads:
            message = f"{kind} can only be read; add the verb read, or leave it out"
            yield Fault(document, at, "read_only_kind", message)
    yield from _scopes(document, path, grant.scopes)


def _scopes(document: Document, path: str, scopes: Sequence[str]) -> Iterator[Fault]:
    for place, scope in enumerate(scopes):
        if scope != EVERY and level_of(scope) is None:
            message = (
                f"{quoted(scope)} is no scope; use federation, region/NAME, site, group/NAME, "
                'node/NAME or "*"'
            )
            yield Fault(document, f"{path}.scopes[{place}]", "unknown_scope", message)


def _list(words: Sequence[str]) -> str:
    return f"{', '.join(words)} and {EVERY}"
