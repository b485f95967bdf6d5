"""How conflicts stand: what was found, held against what is known of it.  Pure.

A conflict that is found again stays as people left it, unless it says something else now.  One
that isn't found any more closes itself; one that was settled and comes back is open again, but
for one whose deciders only took note of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sdsp.conflicts.deadlines import Deadlines
from shared.ids import SITE, Key
from shared.model.override import Conflict
from shared.policy.conflicts.contract import Finding
from shared.store.contract import Draft, Stored

KIND: Final = "Conflict"

_GONE: Final = {
    "edited_both": "the exception and the inherited object agree, or one of them is gone",
    "deleted_upstream": "the exception is gone or expired, or its target is inherited again",
    "name_taken": "the local object or the inherited one of its name is gone, or the local one was "
    "written again since",
    "upstream_went_back": "upstream has what was known again, or has moved on, or there is an "
    "exception to it",
    "local_login_forbidden": "no mandatory policy forbids local users, or there are none",
    "schedule_differs": "the backups are due at the same times, or one of the policies is gone",
    "unresolved_name": "the name has a meaning, or no rule uses it",
    "shadowed_rule": "packets reach the rule, or it is gone",
    "overlapping_networks": "the networks share no address and no VLAN, one lies in the other, or "
    "the rules treat them alike",
    "mandatory_service_missing": "the node runs the service, or it is no longer mandatory there",
    "nodes_disagree": "both ends judge all flows alike, or the nodes, their workloads or what was "
    "defined for them are gone",
    "contradicts_mandatory": "no mandatory rule decides the rule's packets otherwise",
}


@dataclass(frozen=True, slots=True)
class Change:
    """A conflict as it is to be written, and what that does: opened, changed, reopened, closed."""

    draft: Draft
    action: str


def changes(
    found: Iterable[Finding],
    known: Iterable[Stored],
    *,
    seen_at: int,
    now: datetime,
    deadlines: Deadlines,
    specs: Mapping[Key, Mapping[str, Any]] | None = None,
) -> Iterator[Change]:
    """Yield what is to be written of the site's conflicts.

    `seen_at` is the revision that the findings are of.  A conflict that was decided since then is
    left alone until the next findings: these don't know of the decision.  So is one whose decision
    was taken back.  `specs` are what spec_of() says of findings, by key, as far as that is known.
    """
    left = {each.key: each for each in known}
    for finding in found:
        key = key_of(finding)
        spec = (specs or {}).get(key) or spec_of(finding)
        before = left.pop(key, None)
        if before is None:
            opened = {**spec, **deadlines.of_new(finding.urgency, now)}
            yield Change(_draft(key, opened), "opened")
        elif before.revision <= seen_at or "decision" not in before.spec:
            yield from _found_again(spec, before, now, deadlines)
    for each in left.values():
        is_newer = each.revision > seen_at and "undone" in each.spec
        if each.spec.get("state", "open") != "resolved" and not is_newer:
            closed = {"at": now.isoformat(), "why": why_gone(each.spec)}
            yield Change(rewritten(each, state="resolved", deferred=None, closed=closed), "closed")


def why_gone(spec: Mapping[str, Any]) -> str:
    """Return what made a conflict go that nobody decided."""
    asked = spec.get("asked") or {}
    if asked.get("state") != "accepted":
        return _GONE.get(spec["type"], "it isn't found any more")
    taken = f"the federation took over what it was asked for ({asked['request']})"
    override = (spec.get("facts") or {}).get("override")
    if override is None:
        return taken
    return f"{taken}; override {override['name']} says just what is inherited and may be deleted"


def is_unanswered(asked: Mapping[str, Any]) -> bool:
    """Return whether a conflict's `asked` waits for the federation."""
    return bool(asked) and asked.get("state", "waiting") == "waiting"


def key_of(finding: Finding) -> Key:
    return Key(KIND, finding.owner, SITE, finding.name)


def read_conflict(stored: Stored) -> Conflict:
    return Conflict.model_validate(stored.spec)


def rewritten(stored: Stored, **fields: Any) -> Draft:
    """Return a conflict with other fields; None takes one away."""
    return _draft(stored.key, {**stored.spec, **fields}, stored)


def _found_again(
    spec: Mapping[str, Any], before: Stored, now: datetime, deadlines: Deadlines
) -> Iterator[Change]:
    urgency = spec.get("urgency", "normal")
    state = before.spec.get("state", "open")
    says_the_same = all(before.spec.get(name) == spec.get(name) for name in _SAID)
    if state == "resolved":
        if not (says_the_same and before.spec.get("decision", {}).get("acknowledges")):
            opened = {**spec, **deadlines.of_new(urgency, now)}
            yield Change(_draft(before.key, opened, before), "reopened")
        return
    until = deadlines.of_known(before.spec, urgency, now)
    if not says_the_same:
        # Whoever put it off did so knowing what it said then.  What was asked stays asked.
        asked = {"asked": before.spec["asked"]} if "asked" in before.spec else {}
        yield Change(_draft(before.key, {**spec, **until, **asked}, before), "changed")
        return
    # One that waits for the federation's answer has no time of its own.
    ends = (before.spec.get("deferred") or {}).get("until")
    if state == "deferred" and ends is not None and datetime.fromisoformat(ends) <= now:
        yield Change(rewritten(before, state="open", deferred=None, **until), "reopened")
    elif before.spec.get("deadline") != until["deadline"]:
        # It is of an earlier release, which gave none.
        yield Change(rewritten(before, **until), "changed")


_SAID: Final = ("urgency", "base", "local", "global", "fields", "facts", "proposals")


def spec_of(finding: Finding) -> Mapping[str, Any]:
    """Return a finding as it is stored, in its one form: what is a default is left out."""
    spec = {
        "type": finding.type,
        "target": finding.target._asdict(),
        "subject": finding.subject,
        "urgency": finding.urgency,
        "base": finding.base,
        "local": finding.local,
        "global": finding.inherited,
        "fields": list(finding.fields),
        "facts": finding.facts,
        "proposals": [each.to_json() for each in finding.proposals],
    }
    return Conflict.model_validate(spec).to_json()


def _draft(key: Key, spec: Mapping[str, Any], before: Stored | None = None) -> Draft:
    present = {name: value for name, value in spec.items() if value is not None}
    return Draft(
        key=key,
        spec=Conflict.model_validate(present).to_json(),
        labels=before.labels if before else {},
        annotations=before.annotations if before else {},
        origin=before.origin if before else None,
    )
