"""What a draft would do at the sites, in words.  Pure.

Answers come from another version of the program perhaps: what is left out isn't told.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shared.cli.conflicts.telling import impact
from shared.ids import COMMON

JSON = Mapping[str, Any]

# Of a sort that a person still reads.
_MANY: Final = 6


def of_site(line: JSON) -> list[str]:
    """Return the sentences about one site; `line` is its line of the answer."""
    found = line.get("impact")
    if not isinstance(found, Mapping):
        why = line.get("message") or line.get("code") or "nobody knows why"
        return [f"not known ({line.get('outcome')}): {why}"]
    return [*impact({"impact": found}), *_names(found), *_taken(line, found), *_how(line, found)]


def totals(end: JSON) -> list[str]:
    """Return what the answer says as a whole, and who is missing."""
    asked, answered = int(end.get("asked", 0)), int(end.get("answered", 0))
    if not asked:
        return ["No site is concerned: what they are delivered stays the same."]
    changing = int(end.get("changing", 0))
    lines = [f"{answered} of {_counted(asked, 'site')} answered; verdicts change at {changing}."]
    if missing := [each for each in end.get("missing") or () if isinstance(each, Mapping)]:
        named = [f"{each.get('site')} ({each.get('outcome')})" for each in missing]
        lines.append(f"Missing: {_listed(named)}. What it would do there is not known.")
    allowed, denied = (int(end.get(name, 0)) for name in ("newlyAllowed", "newlyDenied"))
    if allowed or denied:
        lines.append(f"Together {allowed:,} packets newly allowed, {denied:,} newly denied.")
    opened, closed = (int(end.get(name, 0)) for name in ("newConflicts", "goneConflicts"))
    if opened or closed:
        lines.append(f"{_counted(opened, 'conflict')} would open, {closed} close.")
    return lines


def _names(found: JSON) -> Iterator[str]:
    unresolved, conflicts = found.get("unresolved") or {}, found.get("conflicts") or {}
    for word, part in (("would not resolve", "new"), ("would resolve again", "gone")):
        if names := [_reference(each) for each in unresolved.get(part) or ()]:
            yield f"{word}: {_listed(names)}"
    for word, part in (("open", "new"), ("close", "gone")):
        if named := [_conflict(each) for each in conflicts.get(part) or ()]:
            yield f"would {word} {_counted(len(named), 'conflict')}: {_listed(named)}"


def _taken(line: JSON, found: JSON) -> Iterator[str]:
    if refused := [f"{_object(each)} ({each.get('code')})" for each in found.get("refused") or ()]:
        yield f"the site would refuse {_listed(refused)}"
    if withheld := [_object(each) for each in line.get("withheld") or ()]:
        yield f"not sent, since the site's release doesn't know all of it: {_listed(withheld)}"
    if held := [_object(each) for each in found.get("held") or ()]:
        yield f"stays in force there until a person confirms: {_listed(held)}"


def _how(line: JSON, found: JSON) -> Iterator[str]:
    if not line.get("current"):
        yield "judged by other policy than the federation's of now; ask again when it has caught up"
    tenants = found.get("tenants")
    if tenants is not None:
        named = dict.fromkeys([*map(str, tenants), COMMON])
        yield f"as far as the policy of {_and(list(named))} says; your roles there reach no further"


def _reference(each: JSON) -> str:
    return f"{each.get('reference')} in {each.get('policy')}/{each.get('rule')}"


def _conflict(each: JSON) -> str:
    target = each.get("target") or {}
    about = f"{target.get('kind')} {target.get('name')}"
    subject = f" {each['subject']}" if each.get("subject") else ""
    return f"{each.get('type')}{subject} of {about} ({each.get('urgency')})"


def _object(each: JSON) -> str:
    tenant = each.get("tenant", COMMON)
    whose = "" if tenant == COMMON else f" of tenant {tenant}"
    return f"{each.get('kind')} {each.get('name')}{whose}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MANY])
    return shown if len(names) <= _MANY else f"{shown} and {len(names) - _MANY} more"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
