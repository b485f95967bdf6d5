"""What the FSM is told of a site's conflicts: names, codes and counts, no versions.  Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sdsp.conflicts.standing import is_unanswered
from shared.model.override import URGENCIES
from shared.store.contract import Stored

MOST_SETTLED: Final = 200
"""Of those that are settled the newest are told; what became of older ones was told before."""

NOT_JUDGED: Final[Mapping[str, Any]] = {"judged": None}
"""Said while the site has not judged yet what it has taken over: that is not `no conflicts`."""


def upward(conflicts: Iterable[Stored], *, judged: int) -> dict[str, Any]:
    """Return what is reported of conflicts, the most pressing first.

    `judged` is the FSM's revision that they are of.
    """
    known = list(conflicts)
    unsettled = [each for each in known if _state(each) != "resolved"]
    settled = sorted(
        (_settled(each) for each in known if _state(each) == "resolved"),
        key=lambda each: (each["at"], each["name"]),
        reverse=True,
    )
    return {
        "judged": judged,
        "unsettled": [_unsettled(each) for each in sorted(unsettled, key=_rank)],
        "settled": settled[:MOST_SETTLED],
    }


def counted(conflicts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many of what upward() tells are open, immediate and deferred."""
    states = Counter(each["state"] for each in conflicts)
    pressing = sum(each["state"] == "open" and each["urgency"] == "immediate" for each in conflicts)
    return {
        "conflictsOpen": states["open"],
        "conflictsImmediate": pressing,
        "conflictsDeferred": states["deferred"],
    }


def _state(stored: Stored) -> str:
    return str(stored.spec.get("state", "open"))


def _rank(stored: Stored) -> tuple[Any, ...]:
    spec = stored.spec
    urgency = URGENCIES.index(spec.get("urgency", "normal"))
    deadline = spec.get("deadline", "")
    return _state(stored) != "open", urgency, not deadline, deadline, stored.key


def _identity(stored: Stored) -> dict[str, Any]:
    target = stored.spec["target"]
    return {
        "name": stored.key.name,
        "tenant": stored.key.tenant,
        "type": stored.spec["type"],
        "target": {name: target[name] for name in ("kind", "tenant", "name") if name in target},
    }


def _unsettled(stored: Stored) -> dict[str, Any]:
    spec = stored.spec
    asked = spec.get("asked") or {}
    told = {
        **_identity(stored),
        "urgency": spec.get("urgency", "normal"),
        "state": _state(stored),
        "since": spec.get("since") or stored.created_at.isoformat(),
        "deadline": spec.get("deadline"),
        "until": (spec.get("deferred") or {}).get("until"),
        "request": asked.get("request") if is_unanswered(asked) else None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _settled(stored: Stored) -> dict[str, Any]:
    spec = stored.spec
    decision, closed = spec.get("decision"), spec.get("closed")
    at = (decision or closed or {}).get("at") or stored.updated_at.isoformat()
    return {
        **_identity(stored),
        "how": decision["proposal"] if decision else "closed",
        "at": at,
    }
