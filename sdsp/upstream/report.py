"""Tell the FSM how the site stands: names, codes and counts, and nothing else."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from sdsp.conflicts.upward import NOT_JUDGED, counted, upward
from sdsp.realisation import for_upstream
from sdsp.site.service import SiteView, Standing
from sdsp.upstream.detachment import Detached
from shared.errors import Invalid
from shared.failpoints import pause
from shared.feed.follow import FEED
from shared.http.peer import PeerClient
from shared.ids import Revision
from shared.model.override import Override
from shared.policy.compile import SitePlanner
from shared.policy.faults.changes import Hiding, hidings
from shared.policy.inputs import Document
from shared.tasks.loop import Outcome

JSON = Mapping[str, Any]

# What the FSM takes: so many of each, and 8 MiB in all, of which some is left for growth.
MOST: Final = 10_000
MOST_BACKUPS: Final = 100
MOST_BYTES: Final = 7 * 1024 * 1024

# A conflict has names of up to 253 characters; most take a tenth of what they may.
_CONFLICTS_BYTES: Final = 2 * 1024 * 1024

# What not every FSM knows of.
_LATER: Final = frozenset({"conflicts", "breakGlass", "trust", "backups", "staged"})

# How many failing nodes and unresolved names of each policy are told, if more were too much.
_SHORTER: Final = (10, 1, 0)

_STATES: Final = ("realised", "pending", "failed", "drift", "waiting", "refused")


class ReportUpstream:
    """A reconciler: sends the whole report, if it is another than the last one that arrived."""

    name = "report upstream"

    def __init__(
        self,
        *,
        view: SiteView,
        upstream: PeerClient,
        connected: Callable[[], bool],
        since: Callable[[], datetime | None] = lambda: None,
        trust: Callable[[], Awaitable[JSON]] | None = None,
        judged: Callable[[], Revision | None] = lambda: None,
        detached: Callable[[], Detached | None] = lambda: None,
    ) -> None:
        """`since` tells when the present connection began; `trust` returns whom the site believes,
        and how far its nodes have followed; `judged` the revision of the site's store that its
        conflicts are of; `detached` whether the site is about to be cut off on purpose.
        """
        self._detached = detached
        self._judged = judged
        self._unknown: frozenset[str] = frozenset()
        """What the FSM has said that it doesn't know, on this connection."""
        self._trust = trust
        self._view = view
        self._upstream = upstream
        self._connected = connected
        self._since = since
        self._sent: JSON | None = None
        self._sent_on: datetime | None = None
        """On which connection."""
        self._exceptions: tuple[SitePlanner, Sequence[JSON]] | None = None

    async def reconcile(self) -> Outcome:
        since = self._since()
        if not self._connected() or since != self._sent_on:
            # Said again as a whole once there is somebody to hear it: on another connection,
            # however short the break was, the FSM may be one that was put back and never heard it.
            self._sent = None
            self._sent_on = since
            self._unknown = frozenset()
        if not self._connected():
            return Outcome()
        report = await self._report()
        if report is None or report == self._sent:
            return Outcome()
        await pause("sdsp.report.before")
        await self._send(report)
        await pause("sdsp.report.after")
        self._sent = report
        return Outcome(changed=1)

    async def _send(self, report: JSON) -> None:
        """Send a report; an older FSM is told without what it doesn't know."""
        try:
            await self._upstream.post(f"{FEED}/report", _without(report, self._unknown))
        except Invalid as exc:
            unknown = unknown_parts(exc) - self._unknown
            if not unknown:
                raise
            self._unknown |= unknown
            await self._upstream.post(f"{FEED}/report", _without(report, self._unknown))

    async def _report(self) -> JSON | None:
        # Before the store is read: what was judged by now is in it.
        judged = self._judged()
        standing = await self._view.standing(conflicts=True)
        newest = self._view.newest()
        if standing.position is None or newest is None:
            return None
        statuses = self._view.realisation(newest, standing.held)
        glass = await self._view.break_glass_upward()
        trust = {"trust": await self._trust()} if self._trust else {}
        return fitted(
            {
                **trust,
                "position": standing.position.to_json(),
                "policies": for_upstream(statuses, standing.inherited, compiled=newest.revision),
                "exceptions": self._exceptions_of(newest.planner),
                "held": list(standing.held),
                "counts": self._counts(standing),
                "conflicts": _conflicts(standing, judged),
                "backups": (await self._view.backups_upward())[:MOST_BACKUPS],
                # Said only while it is so: an older FSM knows no such field.
                **({"breakGlass": glass} if glass else {}),
                **({"detached": detached.to_json()} if (detached := self._detached()) else {}),
                **({"staged": staged} if (staged := self._view.staged_upward()) else {}),
            }
        )

    def _exceptions_of(self, planner: SitePlanner) -> Sequence[JSON]:
        if self._exceptions is None or self._exceptions[0] is not planner:
            self._exceptions = planner, exceptions(planner)
        return self._exceptions[1]

    def _counts(self, standing: Standing) -> dict[str, int]:
        states = self._view.node_states(standing.nodes)
        words = Counter(word for word, _ in states)
        connected = sum(connected for _, connected in states)
        services = self._view.services_run(standing.nodes)
        return {
            "nodes": len(states),
            "connected": connected,
            **{word: words[word] for word in _STATES},
            **{f"run{name[:1].upper()}{name[1:]}": count for name, count in services.items()},
        }


def _conflicts(standing: Standing, judged: Revision | None) -> JSON:
    """Return what is told of conflicts: nothing before what upstream has sent last is judged."""
    if standing.position is None or judged is None or judged < standing.changed:
        return NOT_JUDGED
    return upward(standing.conflicts, judged=standing.position.revision)


def unknown_parts(refused: Invalid) -> frozenset[str]:
    """Return the parts of a report that an FSM refused since it doesn't know them.

    None of those that every FSM knows: without them a report would say something else.
    """
    paths = (each.path for each in refused.fields if each.code == "unknown_field")
    return frozenset(re.split(r"[.\[]", path, maxsplit=1)[0] for path in paths) & _LATER


def _without(report: JSON, parts: frozenset[str]) -> JSON:
    return {name: value for name, value in report.items() if name not in parts}


def fitted(report: dict[str, Any]) -> JSON:
    """Return a report that the FSM can take: of what is too much, the counts tell how much it is.

    What became of each policy is the last to be left out.
    """
    counts = dict(report["counts"])
    report, told = _with_fitting_conflicts(report)
    counts |= told
    for part in ("policies", "exceptions", "held"):
        if (count := len(report[part])) > MOST:
            report = {**report, part: report[part][:MOST]}
            counts[f"all{part.capitalize()}"] = count
    report = {**report, "counts": counts}
    for most in _SHORTER:
        if len(orjson.dumps(report)) <= MOST_BYTES:
            break
        shorter = [_shortened(each, most) for each in report["policies"]]
        report = {**report, "policies": shorter}
    while report["exceptions"] and len(orjson.dumps(report)) > MOST_BYTES:
        counts.setdefault("allExceptions", len(report["exceptions"]))
        half = report["exceptions"][: len(report["exceptions"]) // 2]
        report = {**report, "exceptions": half, "counts": counts}
    return report


def _with_fitting_conflicts(report: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Return a report with as many of its conflicts as have their share of it, and the counts."""
    conflicts = report.get("conflicts")
    if not conflicts or conflicts["judged"] is None:
        return report, {}
    unsettled = conflicts["unsettled"]
    counts = counted(unsettled)
    unsettled = unsettled[:MOST]
    while len(orjson.dumps(unsettled)) > _CONFLICTS_BYTES:
        unsettled = unsettled[: len(unsettled) // 2]
    if len(unsettled) < len(conflicts["unsettled"]):
        counts["allConflicts"] = len(conflicts["unsettled"])
    return {**report, "conflicts": {**conflicts, "unsettled": unsettled}}, counts


def _shortened(policy: JSON, most: int) -> JSON:
    return {
        **policy,
        "failing": policy["failing"][:most],
        "unresolved": policy["unresolved"][:most],
    }


def exceptions(planner: SitePlanner) -> list[dict[str, Any]]:
    """Return that the site makes exceptions, on what and why; never what they say instead."""
    overrides = (
        _override(document, document.spec)
        for document in planner.inputs.local.of_kind("Override")
        if isinstance(document.spec, Override)
    )
    return [*overrides, *_hides(hidings(planner))]


def _override(document: Document, terms: Override) -> dict[str, Any]:
    target, expiry = terms.target, terms.expires_at
    return {
        "type": "override",
        "target": {"kind": target.kind, "tenant": target.tenant, "name": target.name},
        "name": document.key.name,
        "tenant": document.key.tenant,
        "scope": document.key.scope,
        "reason": terms.reason,
        "expiresAt": expiry.isoformat() if expiry else None,
    }


def _hides(found: Iterator[Hiding]) -> Iterator[dict[str, Any]]:
    for hiding in found:
        key, own = hiding.inherited.key, hiding.document.key
        yield {
            "type": "hides",
            "target": {"kind": key.kind, "tenant": key.tenant, "name": key.name},
            "name": own.name,
            "tenant": own.tenant,
            "scope": own.scope,
        }
