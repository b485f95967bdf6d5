"""Faults of a site's Overrides."""

from collections.abc import Callable, Iterator
from typing import Final

from pydantic import ValidationError

from shared.model.base import Spec
from shared.model.kinds import KINDS
from shared.model.override import Override
from shared.model.policy import SecurityPolicy
from shared.policy.definitions import INHERITED_KINDS, Name, target_of
from shared.policy.faults.fault import Fault
from shared.policy.faults.references import reserved_priority, unknown_names
from shared.policy.inherit import has_meaning, is_mandatory, is_sealed
from shared.policy.inputs import Document, Documents, SiteInputs
from shared.policy.scopes import Chain

ROOT: Final = "spec.spec"
_TARGETS_ONLY: Final = ("enforcement", "sites")


def override_faults(
    inputs: SiteInputs, upstream: Chain, declared: Callable[[str, str, str], bool]
) -> Iterator[Fault]:
    """Yield every fault of the site's Overrides; `declared` answers for kind, tenant, name."""
    first: dict[tuple[Name, str], Document] = {}
    replaced = _replaced(inputs, upstream)
    for document in inputs.local.of_kind("Override"):
        terms = document.spec
        assert isinstance(terms, Override)
        yield from inner_faults(document, terms, declared)
        target = target_of(terms)
        other = first.setdefault((target, document.key.scope), document)
        if other is not document:
            message = (
                f"{other.key} already overrides {target.kind} {target.name} in this scope; "
                "change or delete that one, expired or not"
            )
            yield Fault(document, "spec.target", "override_exists", message)
        if (local := replaced.get(target)) is not None:
            message = (
                f"{local.key} replaces the inherited {target.kind} {target.name} already; "
                "change that one, or delete it first"
            )
            yield Fault(document, "spec.target", "override_exists", message)


def inner_faults(
    document: Document, terms: Override, declared: Callable[[str, str, str], bool]
) -> Iterator[Fault]:
    """Yield the faults of one Override's target and inner spec."""
    kind = terms.target.kind
    if kind not in INHERITED_KINDS:
        message = (
            f"a {kind} can't be overridden; choose one of {', '.join(sorted(INHERITED_KINDS))}"
        )
        yield Fault(document, "spec.target.kind", "invalid_target", message)
        return
    for name in _TARGETS_ONLY:
        if name in terms.spec:
            message = f"{name} stays the target's; leave it out of the override's spec"
            yield Fault(document, f"{ROOT}.{name}", "not_overridable", message)
    rest = {name: value for name, value in terms.spec.items() if name not in _TARGETS_ONLY}
    try:
        spec = KINDS[kind].spec.model_validate(rest)
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False):
            yield Fault(document, _path(error["loc"]), error["type"], error["msg"])
        return
    yield from _policy_faults(document, terms, spec, declared)


def _policy_faults(
    document: Document, terms: Override, spec: Spec, declared: Callable[[str, str, str], bool]
) -> Iterator[Fault]:
    if isinstance(spec, SecurityPolicy):
        tenant = terms.target.tenant
        yield from reserved_priority(document, spec, tenant, root=ROOT)
        yield from unknown_names(
            document, spec, tenant, declared, root=ROOT, hint="at this site or upstream"
        )


def _path(location: tuple[int | str, ...]) -> str:
    """Return a pydantic location as a path; what names a branch of a union is no field."""
    path = ROOT
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part not in ("list", "any"):
            path += f".{part}"
    return path


def _replaced(inputs: SiteInputs, upstream: Chain) -> dict[Name, Document]:
    """Return the inherited definitions that a local namesake of any scope replaces."""
    found: dict[Name, Document] = {}
    for kind in INHERITED_KINDS:
        for document in inputs.local.of_kind(kind):
            name = Name(kind, document.key.tenant, document.key.name)
            inherited = _inherited(inputs.federation, document, upstream)
            if inherited and _replaces(document, inherited):
                found.setdefault(name, document)
    return found


def _inherited(federation: Documents, local: Document, upstream: Chain) -> list[Document]:
    keys = (local.key._replace(scope=scope) for scope in upstream)
    return [found for key in keys if (found := federation.get(key)) is not None]


def _replaces(local: Document, inherited: list[Document]) -> bool:
    if KINDS[local.key.kind].inheritance == "name":
        return has_meaning(local.spec) and not any(map(is_sealed, inherited))
    if isinstance(local.spec, SecurityPolicy) and local.spec.stage == "staged":
        return False
    return not any(map(is_mandatory, inherited))


def targetless(inputs: SiteInputs, upstream: Chain) -> Iterator[Fault]:
    """Yield a warning for each Override whose target isn't inherited here: it has no effect."""
    for document in inputs.local.of_kind("Override"):
        terms = document.spec
        assert isinstance(terms, Override)
        target = target_of(terms)
        keys = (
            document.key._replace(
                kind=target.kind, tenant=target.tenant, scope=scope, name=target.name
            )
            for scope in upstream
        )
        if target.kind in INHERITED_KINDS and not any(key in inputs.federation for key in keys):
            message = (
                f"no {target.kind} {target.name} of tenant {target.tenant} is inherited here; "
                "the override has no effect"
            )
            yield Fault(document, "spec.target", "no_target", message)
