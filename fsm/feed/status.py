"""Which policy runs at which site, which generation of it, and why not.  Pure.

Three sources meet here: what the FSM has, what each site acknowledged, and what it reported.  A
policy is realised at a site only if that site reported so for the generation that the FSM has now;
anything else comes with a reason.  `connected` means that the site answered a moment ago.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from fsm.feed.acks import Heard
from fsm.feed.item import GOING_ON, Item
from fsm.feed.rolling import NONE, Rollings, seen_by, version_at
from fsm.feed.select import (
    Membership,
    Selected,
    View,
    World,
    is_meant_for,
    select,
    site_key,
    standing_in,
)
from fsm.reported.facts import conflicts_in, exceptions_in
from shared.access.reach import Reach
from shared.http.response import timestamp
from shared.ids import COMMON, FEDERATION, Key

JSON = Mapping[str, Any]
POLICY: Final = "SecurityPolicy"

UNSUBSCRIBED: Final = "unsubscribed"
WAITS_FOR_ROLLOUT: Final = "rollout_waits"
SITE_PAUSED: Final = "site_paused"
_NO_NODES: Final = {"total": 0, "realised": 0, "pending": 0, "failed": 0}
_REASONS: Final = {
    "partial": "unresolved_name",
    "pending": "nodes_pending",
    "failed": "nodes_failed",
    "suspended": "name_taken",
    "replaced": "nearer_definition",
    "staged": "staged",
    "held": "held",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """How far the asker sees, in a world that knows the labels of what it has."""

    reach: Reach
    world: World

    def has(self, key: Key) -> bool:
        item = self.world.get(key)
        return self.reach.sees(key, item.labels if item is not None else None)

    def has_site(self, name: str) -> bool:
        item = self.world.get(Key("Site", COMMON, FEDERATION, name))
        return item is not None and self.reach.sees_machine(item.labels)

    @property
    def has_nodes(self) -> bool:
        """Whether the asker sees sites' nodes; the sites keep their labels."""
        return self.reach.sees_machine(None)

    @property
    def has_affairs(self) -> bool:
        """Whether the asker sees what concerns a server as such."""
        return self.reach.sees(Key("", COMMON, FEDERATION, ""), None)


@dataclass(frozen=True)
class SiteFacts:
    """What is known of one site beside policy.

    `joined_until` is when its CA's certificate expires, None if it has none that counts.
    `incarnation` is the store's: of another life's revisions the report says nothing; None: any.
    """

    heard: Heard | None = None
    report: JSON | None = None
    joined_until: datetime | None = None
    incarnation: str | None = None

    def said_of(self, key: Key) -> JSON | None:
        """Return what the site reported of a policy."""
        return self._reported.get(key)

    def said_of_version(self, item: Item) -> JSON | None:
        """Return what the site reported of a policy as the FSM has it now.

        Generations begin anew with an object that is made again, so the revision counts as well;
        older sites don't tell it.
        """
        said = self.said_of(item.key)
        if said is None or said.get("generation") != item.stored.generation:
            return None
        if said.get("revision") not in (None, item.stored.revision):
            return None
        position = self.report["position"] if self.report else {}
        known = self.incarnation in (None, position.get("incarnation"))
        return said if known else None

    def held(self, seen: Seen) -> list[JSON]:
        """Return what the site holds although it is gone here, as far as that may be seen."""
        return [dict(each) for each in self._listed("held") if seen.has(_key_of(each))]

    def exceptions(self, seen: Seen) -> list[JSON]:
        """Return the site's exceptions, as far as they may be seen."""
        return exceptions_in(self.report, seen.reach)

    def conflicts(self, seen: Seen) -> JSON | None:
        """Return how many conflicts the site has; None if it doesn't tell of them."""
        told = conflicts_in(self.report, seen.reach)
        return told.counts() if told else None

    def server(self, what: str, seen: Seen) -> Any:
        """Return a part of the report that is the server's own affair."""
        return self.report.get(what) if self.report and seen.has_affairs else None

    def _listed(self, what: str) -> Sequence[JSON]:
        found: Sequence[JSON] = self.report[what] if self.report else ()
        return found

    def staged(self, key: Key) -> JSON | None:
        """Return what the site has counted for a staged policy, if it has begun."""
        counts = self._staged.get(key)
        if counts is None:
            return None
        return {name: counts[name] for name in ("wouldDeny", "wouldAllow", "since", "lastAt")}

    @cached_property
    def _staged(self) -> dict[Key, JSON]:
        # A report of an earlier release says nothing of it.
        return {_key_of(each): each for each in (self.report or {}).get("staged", ())}

    @cached_property
    def _reported(self) -> dict[Key, JSON]:
        return {_key_of(each): each for each in (self.report["policies"] if self.report else ())}


@dataclass(frozen=True, slots=True)
class PolicyAtSite:
    """One policy at one site; `generation` is the one that runs there, None if none is known."""

    key: Key
    site: str
    state: str
    reason: str | None
    generation: int | None
    said: JSON
    staged: JSON | None = None
    """What the site has counted for it, while it is staged."""

    def to_json(self) -> dict[str, Any]:
        return {
            **({"staged": self.staged} if self.staged is not None else {}),
            "state": self.state,
            "reason": self.reason,
            "generation": self.generation,
            "nodes": self.said.get("nodes", _NO_NODES),
            "failing": self.said.get("failing", []),
            "unresolved": self.said.get("unresolved", []),
        }


def policies_at(
    view: View,
    policies: Sequence[Item],
    facts: SiteFacts,
    *,
    now: datetime,
    seen: Seen,
    rollings: Rollings = NONE,
    kept: Selected | None = None,
) -> list[PolicyAtSite]:
    """Return what became of each policy that is meant for a site; `policies` may be seen.

    `rollings` are the rollouts that haven't ended, `kept` is what the site keeps if it is paused.
    """
    standing = standing_in(seen_by(seen.world, view.site), view)
    found = []
    for item in policies:
        rolling = rollings.get(item.key)
        waits = rolling is not None and view.site not in rolling.reached
        version = version_at(view.site, item, rolling)
        if not any(each and is_meant_for(view, each.audience) for each in (item, version)):
            continue
        said = _said(facts.said_of(item.key) or {}, seen)
        # A site that doesn't subscribe to what it has of it won't to what comes.
        waits = waits and (
            version is None
            or not is_meant_for(view, version.audience)
            or standing(version) is not Membership.OUT
        )
        state: tuple[str, str | None] = "pending", WAITS_FOR_ROLLOUT
        if not waits and is_held_back(view, item, kept):
            state = "pending", SITE_PAUSED
        elif not waits:
            state = state_of(item, standing(item), facts, now=now)
        staged = facts.staged(item.key) if item.spec.get("stage") == "staged" else None
        found.append(
            PolicyAtSite(item.key, view.site, *state, said.get("generation"), said, staged)
        )
    return found


def is_held_back(view: View, item: Item, kept: Selected | None) -> bool:
    """Return whether a site that is paused hasn't got this version for that reason."""
    if view.paused is None:
        return False
    has = None if kept is None else kept.items.get(item.key)
    return has is None or has.version != item.version


def behind(world: World, view: View, kept: Selected | None) -> int | None:
    """Return how many changes of policy wait for a paused site; None if nobody knows."""
    if kept is None:
        return None
    now = select(world, view).items
    keys = {key for key in {*now, *kept.items} if key.kind not in GOING_ON}
    pairs = [(kept.items.get(key), now.get(key)) for key in keys]
    return sum(was is None or new is None or was.version != new.version for was, new in pairs)


def site_document(
    view: View,
    facts: SiteFacts,
    policies: Sequence[PolicyAtSite],
    *,
    now: datetime,
    seen: Seen,
    kept: Selected | None = None,
) -> dict[str, Any]:
    """Return how a site stands, without its policies one by one."""
    heard = facts.heard
    return {
        "name": view.site,
        "paused": _pause_document(view, seen, kept),
        "region": next((s.partition("/")[2] for s in view.chain if s.startswith("region/")), None),
        "joined": facts.joined_until is not None,
        "certificateExpires": _moment(facts.joined_until),
        "connected": heard is not None and heard.is_connected(now),
        "lastSeen": _moment(heard.at if heard else None),
        "revision": heard.position.revision if heard else None,
        "policies": dict(sorted(Counter(each.state for each in policies).items())),
        "refused": [
            {**each.key._asdict(), "code": each.code}
            for each in (heard.refused if heard else ())
            if seen.has(each.key)
        ],
        "held": facts.held(seen),
        "exceptions": facts.exceptions(seen),
        "conflicts": facts.conflicts(seen),
        "unresolved": [
            {"policy": each.key.name, "tenant": each.key.tenant, **missing}
            for each in policies
            for missing in each.said.get("unresolved", ())
        ],
        "counts": dict(facts.server("counts", seen) or {}),
        "backups": list(facts.server("backups", seen) or ()),
        "breakGlass": facts.server("breakGlass", seen),
        "detached": facts.server("detached", seen),
        "reportedAt": facts.report["at"] if facts.report else None,
    }


def policy_document(
    item: Item, sites: Sequence[PolicyAtSite], exceptions: Mapping[str, int]
) -> dict[str, Any]:
    """Return how a policy stands at each site that it is meant for.

    `exceptions` says how many each site makes to it.
    """
    key, stored = item.key, item.stored
    return {
        **identity_of(item),
        "revision": stored.revision,
        "enforcement": item.spec.get("enforcement", "default"),
        "stage": item.spec.get("stage", "enforced"),
        "summary": dict(sorted(Counter(each.state for each in sites).items())),
        "exceptions": sum(exceptions.values()),
        "sites": [
            {"site": each.site, **each.to_json(), "exceptions": exceptions.get(each.site, 0)}
            for each in sites
            if each.key == key
        ],
    }


def identity_of(item: Item) -> dict[str, Any]:
    return {**item.key._asdict(), "wanted": item.stored.generation}


def state_of(
    item: Item, standing: Membership, facts: SiteFacts, *, now: datetime
) -> tuple[str, str | None]:
    """Return the state of a policy at a site, and the code of the reason if it isn't realised."""
    heard = facts.heard
    if standing is Membership.OUT:
        return UNSUBSCRIBED, UNSUBSCRIBED
    if standing is Membership.WITHHELD:
        return "pending", "unsupported"
    if facts.joined_until is None:
        return "pending", "not_joined"
    if heard is not None and (code := heard.refusal_of(item.key)) is not None:
        return "failed", code
    if (said := facts.said_of_version(item)) is not None:
        state = str(said["state"])
        failing = said.get("failing") or [{}]
        if state == "failed":
            return state, failing[0].get("code", _REASONS[state])
        return state, _REASONS.get(state)
    if heard is None or not heard.is_connected(now):
        return "pending", "not_connected"
    if heard.position.revision < item.stored.revision:
        return "pending", "not_acknowledged"
    return "pending", "not_reported"


def _pause_document(view: View, seen: Seen, kept: Selected | None) -> JSON | None:
    """Return since when, by whom and why a site is paused, and how far it is behind."""
    if view.paused is None:
        return None
    pause = seen.world[site_key(view.site)].spec["paused"]
    return {**pause, "behind": behind(seen.world, view, kept)}


def _said(said: JSON, seen: Seen) -> JSON:
    """Return what of a site's report may be seen."""
    if seen.has_nodes:
        return said
    return {name: each for name, each in said.items() if name not in ("nodes", "failing")}


def _key_of(said: JSON) -> Key:
    return Key(said["kind"], said["tenant"], said["scope"], said["name"])


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
