"""How the site stands to its FSM: connected or cut off, how old its policy is, what changed since.

What changed is what people wrote at the site after it last heard, signed, that it had the FSM's
latest.  After a kill that moment may be half a minute too early, never too late.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sdsp.upstream.confirmed import Confirmed
from sdsp.upstream.detachment import Detached
from shared.clock import Clock
from shared.feed.connect import Link
from shared.feed.wire import Position
from shared.ids import Key, Revision
from shared.model.kinds import KINDS
from shared.policy.inputs import is_inherited_scope
from shared.store.contract import Selection, Snapshot

JSON = Mapping[str, Any]
Sees = Callable[[Key, Mapping[str, str] | None], bool]

MOST: Final = 1000
"""Changed objects that are listed; the count goes on."""

_WRITTEN: Final = Selection(
    kinds=frozenset(
        kind.name
        for kind in KINDS.values()
        if "sdsp" in kind.lives_on and kind.written_by == "person"
    )
)


@dataclass(frozen=True, slots=True)
class Upward:
    """Where the site's way to its FSM is looked at; each returns None if there is nothing."""

    link: Callable[[], Link | None] = lambda: None
    confirmed: Callable[[], Confirmed | None] = lambda: None
    detached: Callable[[], Detached | None] = lambda: None


@dataclass(frozen=True, slots=True)
class Changed:
    """An object that people changed at the site, and its labels, now or at its end."""

    key: Key
    what: str
    revision: int
    labels: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {**self.key._asdict(), "what": self.what, "revision": self.revision}


async def changed_since(snapshot: Snapshot, heard: Confirmed) -> list[Changed]:
    """Return what people created, changed and deleted here since the FSM was heard, in order."""
    found = []
    for stored in await snapshot.list(_WRITTEN):
        if stored.revision <= heard.local or is_inherited_scope(stored.key.scope):
            continue
        what = "created" if stored.created_at > heard.heard_at else "changed"
        found.append(Changed(stored.key, what, stored.revision, stored.labels))
    if snapshot.position.revision > heard.local:
        for change in await snapshot.deleted(Revision(heard.local), _WRITTEN):
            before = change.before
            if before is not None and not is_inherited_scope(change.key.scope):
                found.append(Changed(change.key, "deleted", change.revision, before.labels))
    return sorted(found, key=lambda each: (each.revision, each.key))


async def upward_answer(
    upward: Upward, position: Position | None, snapshot: Snapshot, sees: Sees, *, clock: Clock
) -> dict[str, Any]:
    """Return how the site stands to its FSM, as far as it may be seen."""
    link, heard, detached = upward.link(), upward.confirmed(), upward.detached()
    connected = link.connected if link else False
    answer = {
        "connected": connected,
        "since": link.since.isoformat() if link and link.since else None,
        "heardAt": link.heard_at.isoformat() if link and link.heard_at else None,
        "error": link.error if link else "not_joined",
        "position": position.to_json() if position else None,
        "confirmed": _confirmed(heard, clock),
        "detached": detached.to_json() if detached else None,
        "paused": await _paused(snapshot),
    }
    if connected or heard is None:
        return answer
    seen = [each for each in await changed_since(snapshot, heard) if sees(each.key, each.labels)]
    return answer | {
        "cutOffSince": heard.heard_at.isoformat(),
        "changedSince": [each.to_json() for each in seen[:MOST]],
        "changes": len(seen),
    }


async def _paused(snapshot: Snapshot) -> JSON | None:
    """Return since when, by whom and why the FSM holds changes of policy back, if it does.

    What a paused site has confirmed is that nothing else comes, not that its policy is the latest.
    """
    for stored in await snapshot.list(Selection(kinds=frozenset({"Site"}))):
        if (pause := stored.spec.get("paused")) is not None:
            return dict(pause)
    return None


def policy_age(confirmed: Confirmed | None, clock: Clock) -> float | None:
    """Return how many seconds ago the FSM said that the site had its latest; None if never."""
    return None if confirmed is None else round(confirmed.age(clock.now()).total_seconds(), 3)


def _confirmed(heard: Confirmed | None, clock: Clock) -> JSON | None:
    if heard is None:
        return None
    ahead = heard.clocks_differ
    return {
        "revision": heard.revision,
        "at": heard.at.isoformat(),
        "heardAt": heard.heard_at.isoformat(),
        "age": policy_age(heard, clock),
        **({"clockAhead": round(ahead.total_seconds(), 3)} if ahead else {}),
    }
