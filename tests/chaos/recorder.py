"""Watch a server through all that happens to it, and hold what came against what it has.

The six validators are those of the store's own tests (tests/contract/store_validators.py); here
the watch is HTTP's, which resumes by revision over connections that break.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from shared.errors import HanseError
from shared.ids import Revision
from shared.store.contract import Bookmark, Change, Selection, Store
from tests.chaos.federation import Server
from tests.chaos.load import said_of
from tests.contract.store_validators import Part

WRITTEN = ("Network", "SecurityPolicy", "Workload")


class Recorder:
    """One watcher of one server, which comes back whenever it is cut off."""

    def __init__(self, server: Server, *, kinds: str, after: int) -> None:
        self.server = server
        self.parts: list[Part] = []
        self._kinds = kinds
        self._after = after

    @property
    def reached(self) -> int:
        """The revision up to which everything has come."""
        return self._after

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._watch()
            except HanseError as exc:
                if exc.code == "revision_compacted":
                    raise
            await asyncio.sleep(0.1)

    async def _watch(self) -> None:
        params = {"after": str(self._after), "kinds": self._kinds}
        async with self.server.peer.stream("GET", "/api/v1/watch", params=params) as lines:
            part: Part | None = None
            async for line in lines:
                if part is None:
                    part = Part(self._after)
                    self.parts.append(part)
                if line["type"] == "commit":
                    changes = [_of_line(each) for each in line["changes"]]
                    part.events.append(_event(line["revision"], changes))
                elif line["type"] == "bookmark":
                    part.events.append({"bookmark": line["revision"], "digest": ""})
                self._after = int(line.get("revision", self._after))


async def log_of(store: Store, *, after: int, kinds: tuple[str, ...]) -> dict[int, dict[str, Any]]:
    """Return what a store's log holds, as a recorder would have seen it."""
    end = (await store.position()).revision
    log: dict[int, dict[str, Any]] = {}
    if end <= after:
        return log
    events = store.watch(Revision(after), selection=Selection(kinds=frozenset(kinds)))
    async for event in events:
        if not isinstance(event, Bookmark):
            log[event.revision] = _event(event.revision, [_of_change(c) for c in event.changes])
        if event.revision >= end:
            break
    await events.aclose()  # type: ignore[attr-defined]  # it is an async generator
    return log


def _event(revision: int, changes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"commit": revision, "digest": "", "changes": changes}


def _of_line(change: Mapping[str, Any]) -> dict[str, Any]:
    thing = change["object"]
    metadata = thing["metadata"]
    gone = change["operation"] == "delete"
    return {
        "key": (thing["kind"], metadata["scope"], metadata["name"]),
        "says": None if gone else said_of(thing),
    }


def _of_change(change: Change) -> dict[str, Any]:
    after = change.after
    says = {"spec": dict(after.spec), "labels": dict(after.labels)} if after else None
    return {"key": (change.key.kind, change.key.scope, change.key.name), "says": says}
