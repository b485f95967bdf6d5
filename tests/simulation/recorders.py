"""Thin layers that note what passes through the product's own parts."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from dsn.dataplane.contract import Count, DataPlane, ReadBack
from dsn.enforce.assignment import Version
from shared.errors import Gone, HanseError
from shared.feed.follow import Copy
from shared.feed.wire import Changes, Position, Refusal, Snapshot
from shared.ids import Revision
from shared.policy.nodeconfig import NodeConfiguration
from shared.store.contract import Bookmark, Change, Commit, Store
from shared.tasks.streams import closing
from tests.simulation.history import Enforced, Step, step_of
from tests.simulation.machine import Machine

Result = TypeVar("Result")


class RecordedCopy:
    """A shared.feed.follow.Copy: the site's own, with a note of each step."""

    def __init__(self, copy: Copy, machine: Machine) -> None:
        self._copy = copy
        self._machine = machine
        self._history = machine.history
        self._steps = machine.history.copy_of(machine.name)

    async def position(self) -> Position | None:
        found = await self._copy.position()
        begun, self._steps.begun = self._steps.begun, None
        if begun is not None and found == begun.position:
            self._took(begun)  # it was killed, or failed, between the commit and the word of it
        return found

    async def replace(self, snapshot: Snapshot) -> Sequence[Refusal]:
        self._history.count("snapshots")
        return await self._take(snapshot, lambda: self._copy.replace(snapshot))

    async def apply(self, changes: Changes) -> Sequence[Refusal]:
        self._history.count("frames")
        return await self._take(changes, lambda: self._copy.apply(changes))

    async def advance(self, position: Position) -> None:
        self._history.count("bookmarks")
        await self._take(position, lambda: self._copy.advance(position))

    async def _take(self, what: Snapshot | Changes | Position, act: Callable[[], Any]) -> Any:
        step = step_of(what, epoch=self._history.epochs["fsm"])
        self._steps.begun = step
        result = await act()
        self._steps.begun = None
        self._took(step)
        return result

    def _took(self, step: Step) -> None:
        at = step.position
        who = f"copy {len(self._steps.parts)} of {self._machine.name}"
        # A kill may have kept the word of it back until after the FSM was put back.
        self._history.saw(who, at.incarnation, at.revision, store="fsm", epoch=step.epoch)
        self._steps.parts[-1].append(step)
        self._machine.note(f"{step.kind} {at.incarnation[-4:]} {at.revision} {at.digest[:8]}")


class RecordedPlane:
    """A data plane that notes what it was given to enforce."""

    def __init__(self, plane: DataPlane, machine: Machine) -> None:
        self.version: Callable[[], Version | None] = lambda: None
        self._plane = plane
        self._machine = machine

    @property
    def name(self) -> str:
        return self._plane.name

    async def apply(self, configuration: NodeConfiguration) -> None:
        version = self.version()
        await self._plane.apply(configuration)
        machine = self._machine
        found = (await self._plane.read_back()).hash
        if version is None or found != version.hash:
            machine.history.fault(f"{machine.name} enforces {found}, not {version}")
            return
        machine.history.count("enforced")
        site, _, node = machine.name.partition("/")
        machine.history.enforced.setdefault((site, node), []).append(
            Enforced(machine.loop.time(), version.incarnation, version.generation, version.hash)
        )
        machine.note(f"enforces {version.generation} {version.hash[:8]}")

    async def read_back(self, *, whole: bool = False) -> ReadBack:
        return await self._plane.read_back(whole=whole)

    async def counters(self) -> Mapping[str, Count]:
        return await self._plane.counters()

    async def end_denied_connections(self, configuration: NodeConfiguration) -> int:
        return await self._plane.end_denied_connections(configuration)

    async def clear(self) -> None:
        self._machine.history.fault(f"{self._machine.name} was without rules")
        await self._plane.clear()

    async def close(self) -> None:
        await self._plane.close()


async def record_watch(store: Store, machine: Machine) -> None:
    """Watch a store as a client does: leave and resume by position now and then."""
    history, source = machine.history, machine.source
    parts = history.watches.setdefault(machine.name, [])
    position = await store.position()
    life = f"{position.incarnation}#{history.epochs[machine.name]}"
    after = int(position.revision)
    if parts and parts[-1][0] == life:
        _, after, before = parts[-1]
        after = max([after, *(each.get("commit", each.get("bookmark", 0)) for each in before)])
    while True:
        events: list[dict[str, Any]] = []
        parts.append((life, after, events))
        most = source.randrange(1, 30)
        try:
            async with AsyncExitStack() as stack:
                stream = await stack.enter_async_context(closing(store.watch(Revision(after))))
                async for event in stream:
                    events.append(said(event))
                    history.saw(
                        f"a watch of {machine.name}",
                        position.incarnation,
                        event.revision,
                        store=machine.name,
                    )
                    history.count("watched")
                    after = int(event.revision)
                    if len(events) >= most:
                        break
        except Gone:
            after = int((await store.position()).revision)
        except HanseError:
            await asyncio.sleep(1.0)


def said_of(change: Change) -> dict[str, Any]:
    after = change.after
    return {
        "key": list(change.key),
        "operation": change.operation.value,
        "spec": dict(after.spec) if after else None,
        "generation": after.generation if after else None,
        "uid": after.uid if after else None,
    }


def said(event: Commit | Bookmark) -> dict[str, Any]:
    """Return a watch's event as the validators of tests/contract take it."""
    if isinstance(event, Bookmark):
        return {"bookmark": int(event.revision), "digest": event.digest}
    changes = [said_of(change) for change in event.changes]
    return {"commit": int(event.revision), "digest": event.digest, "changes": changes}
