"""Where the exceptions of a site stand: with the inherited object of each, as it is now."""

from collections.abc import Iterator
from typing import Any

from shared.policy.compile import SitePlanner
from shared.policy.definitions import Exemption, Name, read_exemption, target_of
from shared.policy.inputs import Document
from shared.policy.merging import exempted


def inherited(target: Name, planner: SitePlanner) -> Document | None:
    """Return the inherited object that an exception to `target` stands for; None if none does.

    The one in force; of a name without a meaning and of a staged policy the nearest declaration.
    """
    upstream = planner.places.upstream
    inheritance = planner.inheritance()
    if target.kind not in ("Network", "Service"):
        chosen = inheritance.choose(target, upstream).effective
    else:
        chosen = inheritance.definition(target, upstream)
    if chosen is not None:
        return chosen.document
    by_scope = planner.definitions.of(target)
    return next((by_scope[scope] for scope in upstream if scope in by_scope), None)


def exceptions(planner: SitePlanner) -> Iterator[tuple[Exemption, Document | None]]:
    """Yield each unexpired exception of the site, in order of keys, with what it stands for."""
    now = planner.inputs.now
    for document in sorted(planner.inputs.local.of_kind("Override"), key=lambda each: each.key):
        exemption = read_exemption(document)
        if exemption is None:
            continue
        expires_at = exemption.terms.expires_at
        if expires_at is None or expires_at > now:
            yield exemption, inherited(target_of(exemption.terms), planner)


def subject_of(exemption: Exemption) -> str:
    """Return which exception it is, for a conflict's identity."""
    key = exemption.document.key
    return f"{key.tenant}/{key.scope}/{key.name}"


def facts_of(exemption: Exemption) -> dict[str, Any]:
    """Return the exception's key and reason, as a conflict tells them."""
    key = exemption.document.key
    return {
        "override": {"name": key.name, "tenant": key.tenant, "scope": key.scope},
        "reason": exemption.terms.reason,
    }


def without_targets(document: Document) -> dict[str, Any]:
    """Return an inherited object's spec as an exception to it would say it."""
    return exempted(document.spec.to_json())


def superfluous(planner: SitePlanner) -> list[Document]:
    """Return the exceptions that say just what is inherited: without them nothing would change."""
    return [
        exemption.document
        for exemption, target in exceptions(planner)
        if target is not None and exempted(exemption.spec.to_json()) == without_targets(target)
    ]
