"""Ways out where an exception stands for what has changed or gone: `edited_both`,
`deleted_upstream`; where an inherited object took the name of a local one: `name_taken`; and where
one came back older: `upstream_went_back`.
"""

from collections.abc import Mapping
from typing import Any, Final

from shared.ids import SITE, Key
from shared.model.kinds import KINDS
from shared.model.override import Conflict
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.exceptions import inherited, without_targets
from shared.policy.conflicts.outcome import local_key, target_name
from shared.policy.inputs import Document
from shared.policy.merging import exempted
from shared.policy.ways.contract import Barred, Step, Terms, Way

JSON = Mapping[str, Any]

_BASE: Final = "basedOn"
_LONGEST: Final = 240


def is_current(planner: SitePlanner, conflict: Conflict) -> bool:
    """Return whether both sides still say what the conflict says of them."""
    document = planner.inputs.local.get(local_key(conflict))
    has_local = conflict.type != "upstream_went_back"
    if has_local and (document is None or _said_by(document) != conflict.local):
        return False
    now = inherited(target_name(conflict), planner)
    return (without_targets(now) if now is not None else {}) == conflict.inherited


def of_edited_both(
    planner: SitePlanner, conflict: Conflict, proposal: JSON, terms: Terms
) -> Way | Barred:
    key = local_key(conflict)
    document = planner.inputs.local.get(key)
    now = inherited(target_name(conflict), planner)
    name = proposal["name"]
    if document is None or now is None:
        return Barred(name, "what the conflict is about is gone")
    if name == "acceptGlobal":
        return Way(name, without_targets(now), (Step(key, None),))
    spec = _without_base(document)
    if name == "merge":
        spec["spec"] = proposal["spec"]
    return kept(name, document, spec, now, terms)


def kept(name: Any, document: Document, spec: JSON, now: Document, terms: Terms) -> Way:
    """Return the way out that leaves an Override, based on what is inherited now."""
    ended = {**spec}
    if terms.expires_at is not None:
        ended["expiresAt"] = terms.expires_at.isoformat()
    said = KINDS[now.key.kind].spec.model_validate(spec["spec"]).to_json()
    return Way(
        name,
        exempted(said),
        (Step(document.key, ended, based_on=now),),
        keeps_exception=True,
    )


def of_deleted_upstream(
    planner: SitePlanner, conflict: Conflict, proposal: JSON, terms: Terms
) -> Way | Barred:
    del terms  # a local object has no end
    key = local_key(conflict)
    document = planner.inputs.local.get(key)
    name = proposal["name"]
    if document is None:
        return Barred(name, "the exception is gone")
    if name == "acceptGlobal":
        return Way(name, {}, (Step(key, None),))
    target = target_name(conflict)
    own = Key(target.kind, target.tenant, key.scope, target.name)
    if own in planner.inputs.local:
        return Barred(name, f"the site has a {own} of its own already")
    spec = _said_by(document)
    return Way(name, spec, (Step(key, None), Step(own, spec)))


def of_name_taken(
    planner: SitePlanner, conflict: Conflict, proposal: JSON, terms: Terms
) -> Way | Barred:
    key = local_key(conflict)
    document = planner.inputs.local.get(key)
    now = inherited(target_name(conflict), planner)
    name = proposal["name"]
    if document is None or now is None:
        return Barred(name, "what the conflict is about is gone")
    if name == "acceptGlobal":
        return Way(name, without_targets(now), (Step(key, None),))
    spec = dict(proposal["spec"]) if name == "merge" else exempted(document.spec.to_json())
    if conflict.facts.get("counts") == "local" and name == "keepLocal":
        return Way(name, spec)
    exception = new_exception(planner, now, spec, scope=key.scope, terms=terms)
    if isinstance(exception, str):
        return Barred(name, exception)
    return Way(name, spec, (Step(key, None), exception), keeps_exception=True)


def of_upstream_went_back(
    planner: SitePlanner, conflict: Conflict, proposal: JSON, terms: Terms
) -> Way | Barred:
    now = inherited(target_name(conflict), planner)
    name = proposal["name"]
    if now is None:
        return Barred(name, "what came back is gone")
    if name == "acceptGlobal":
        return Way(name, without_targets(now))
    exception = new_exception(planner, now, proposal["spec"], scope=SITE, terms=terms)
    if isinstance(exception, str):
        return Barred(name, exception)
    return Way(name, proposal["spec"], (exception,), keeps_exception=True)


def of_what_is_meant(
    planner: SitePlanner, conflict: Conflict, proposal: JSON, terms: Terms
) -> Way | Barred:
    """Take note: that it is so is known, and nothing is to be written."""
    del planner, conflict, terms
    return Way(proposal["name"], {})


def new_exception(
    planner: SitePlanner, target: Document, spec: JSON, *, scope: str, terms: Terms
) -> Step | str:
    """Return the writing of an Override; or why there can be none: another stands in its place."""
    at = target.key
    for each in planner.inputs.local.of_kind("Override"):
        terms_of_other: Any = each.spec
        other = terms_of_other.target
        if (other.kind, other.tenant, other.name) != (at.kind, at.tenant, at.name):
            continue
        if each.key.scope == scope:
            return f"{each.key} stands for {at.kind} {at.name} already: change that one"
    names = (at.name[:_LONGEST], *(f"{at.name[:_LONGEST]}-{count}" for count in range(2, 100)))
    keys = (Key("Override", at.tenant, scope, name) for name in names)
    key = next((each for each in keys if each not in planner.inputs.local), None)
    if key is None:
        return f"all names after {at.name} are taken"
    # What an exception is about stands for every kind in the one form.
    said: dict[str, Any] = {
        "target": {"kind": at.kind, "name": at.name, "tenant": at.tenant},
        "reason": terms.reason,
        "spec": dict(spec),
    }
    if terms.expires_at is not None:
        said["expiresAt"] = terms.expires_at.isoformat()
    return Step(key, said, based_on=target)


def _said_by(document: Document) -> dict[str, Any]:
    """Return the spec that a local object gives: an exception's is that which it holds."""
    spec: Any = document.spec
    if document.key.kind != "Override":
        return dict(spec.to_json())
    return dict(KINDS[spec.target.kind].spec.model_validate(spec.spec).to_json())


def _without_base(document: Document) -> dict[str, Any]:
    return {name: value for name, value in document.spec.to_json().items() if name != _BASE}
