"""Faults of a site's Overrides."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from shared.model.kinds import KINDS
from shared.model.override import Override
from shared.model.policy import SecurityPolicy
from shared.policy.definitions import INHERITED_KINDS, Name, read_exemption, target_of
from shared.policy.faults.fault import Fault
from shared.policy.faults.references import reserved_priority, unknown_names
from shared.policy.inherit import has_meaning, is_mandatory, is_sealed, selects
from shared.policy.inputs import Document, Documents, SiteInputs
from shared.policy.scopes import Chain

ROOT: Final = "spec.spec"


def override_faults(
    inputs: SiteInputs,
    labels: Mapping[str, str],
    upstream: Chain,
    declared: Callable[[str, str, str], bool],
) -> Iterator[Fault]:
    """Yield every fault of the site's Overrides.

    `labels` are the site's; `declared` answers for a kind, tenant and name.
    """
    first: dict[tuple[Name, str], Document] = {}
    replaced = _replaced(inputs, labels, upstream)
    for document in inputs.local.of_kind("Override"):
        terms = document.spec
        assert isinstance(terms, Override)
        yield from inner_faults(document, declared)
        target = target_of(terms)
        other = first.setdefault((target, document.key.scope), document)
        if other is not document:
            message = (
                f"{other.key} already overrides {target.kind} {target.name} in this scope; "
                "change or delete that one, expired or not"
            )
            yield Fault(document, "spec.target", "override_exists", message, others=(other,))
        if (local := replaced.get(target)) is not None:
            message = (
                f"{local.key} replaces the inherited {target.kind} {target.name} already; "
                "change that one, or delete it first"
            )
            yield Fault(document, "spec.target", "override_exists", message, others=(local,))


def inner_faults(document: Document, declared: Callable[[str, str, str], bool]) -> Iterator[Fault]:
    """Yield the faults of the policy that an Override holds; its form was checked on reading."""
    exemption = read_exemption(document)
    if exemption is not None and isinstance(exemption.spec, SecurityPolicy):
        tenant = exemption.terms.target.tenant
        yield from reserved_priority(document, exemption.spec, tenant, root=ROOT)
        yield from unknown_names(
            document,
            exemption.spec,
            tenant,
            declared,
            root=ROOT,
            hint="at this site or upstream",
        )


def _replaced(
    inputs: SiteInputs, labels: Mapping[str, str], upstream: Chain
) -> dict[Name, Document]:
    """Return the inherited definitions that a local namesake of any scope replaces."""
    found: dict[Name, Document] = {}
    for kind in INHERITED_KINDS:
        for document in inputs.local.of_kind(kind):
            name = Name(kind, document.key.tenant, document.key.name)
            reaching = _inherited(inputs.federation, document, upstream)
            inherited = [each for each in reaching if selects(each, labels)]
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
