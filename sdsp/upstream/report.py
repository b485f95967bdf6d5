"""Tell the FSM how the site stands: names, codes and counts, and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sdsp.realisation import for_upstream
from sdsp.site.service import SiteView
from sdsp.upstream.apply import Inbound
from shared.feed.follow import FEED
from shared.http.peer import PeerClient
from shared.model.override import Override
from shared.policy.compile import SitePlanner
from shared.policy.faults.changes import hidings
from shared.tasks.loop import Outcome

JSON = Mapping[str, Any]


class ReportUpstream:
    """A reconciler: sends the whole report, if it is another than the last one that arrived."""

    name = "report upstream"

    def __init__(
        self,
        *,
        view: SiteView,
        inbound: Inbound,
        upstream: PeerClient,
        connected: Callable[[], bool],
    ) -> None:
        self._view = view
        self._inbound = inbound
        self._upstream = upstream
        self._connected = connected
        self._sent: JSON | None = None

    async def reconcile(self) -> Outcome:
        if not self._connected():
            # Said again as a whole once there is somebody to hear it.
            self._sent = None
            return Outcome()
        report = await self._report()
        if report is None or report == self._sent:
            return Outcome()
        await self._upstream.post(f"{FEED}/report", report)
        self._sent = report
        return Outcome(changed=1)

    async def _report(self) -> JSON | None:
        position = await self._inbound.position()
        status = await self._view.status()
        if position is None or status["revision"] is None:
            return None
        newest = self._view.compilation()
        held = await self._inbound.held()
        statuses = self._view.realisation(newest, held)
        return {
            "position": position.to_json(),
            "policies": for_upstream(statuses, await self._view.inherited()),
            "exceptions": exceptions(newest.planner),
            "held": list(held),
            "counts": _counts(status["nodes"]),
        }


def exceptions(planner: SitePlanner) -> list[dict[str, Any]]:
    """Return that the site makes exceptions, on what and why; never what they say instead."""
    found: list[dict[str, Any]] = []
    for document in planner.inputs.local.of_kind("Override"):
        if isinstance(document.spec, Override):
            target = document.spec.target
            expiry = document.spec.expires_at
            found.append(
                {
                    "type": "override",
                    "target": {
                        "kind": target.kind,
                        "tenant": target.tenant,
                        "name": target.name,
                    },
                    "name": document.key.name,
                    "tenant": document.key.tenant,
                    "scope": document.key.scope,
                    "reason": document.spec.reason,
                    "expiresAt": expiry.isoformat() if expiry else None,
                }
            )
    for hiding in hidings(planner):
        key = hiding.inherited.key
        found.append(
            {
                "type": "hides",
                "target": {"kind": key.kind, "tenant": key.tenant, "name": key.name},
                "name": hiding.document.key.name,
                "tenant": hiding.document.key.tenant,
                "scope": hiding.document.key.scope,
            }
        )
    return found


_STATES: Final = ("realised", "pending", "failed", "drift", "waiting", "refused")


def _counts(nodes: Sequence[JSON]) -> dict[str, int]:
    counts = {"nodes": len(nodes), "connected": sum(1 for each in nodes if each["connected"])}
    for state in _STATES:
        counts[state] = sum(1 for each in nodes if each["state"] == state)
    return counts
