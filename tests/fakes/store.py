"""A store in memory, for tests that need thousands of histories and a clock that stands still.

It has what feeds use: transactions, snapshots of any revision, a watch, records, compaction.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from shared.errors import Invalid, NotFound, RevisionCompacted, RevisionConflict
from shared.ids import Generation, Incarnation, Key, Revision
from shared.store.contract import (
    EVERYTHING,
    AuditRecord,
    Bookmark,
    Change,
    Commit,
    Committed,
    Draft,
    Operation,
    Position,
    Selection,
    Stored,
)

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def is_selected(selection: Selection, stored: Stored) -> bool:
    key = stored.key
    return (
        (selection.kinds is None or key.kind in selection.kinds)
        and (selection.tenants is None or key.tenant in selection.tenants)
        and (selection.scopes is None or key.scope in selection.scopes)
        and (selection.names is None or key.name in selection.names)
        and (selection.labels is None or selection.labels(stored.labels))
    )


class MemorySnapshot:
    def __init__(self, store: "MemoryStore", objects: Mapping[Key, Stored], at: Position) -> None:
        self._store = store
        self._objects = objects
        self.position = at

    async def get(self, key: Key) -> Stored | None:
        return self._objects.get(key)

    async def list(
        self,
        selection: Selection = EVERYTHING,
        *,
        after: Key | None = None,
        limit: int | None = None,
    ) -> Sequence[Stored]:
        found = [each for _, each in sorted(self._objects.items()) if is_selected(selection, each)]
        return [each for each in found if after is None or each.key > after][:limit]

    async def deleted(self, since: Revision, selection: Selection = EVERYTHING) -> Sequence[Change]:
        last: dict[Key, Change] = {}
        for change in self._store.deletions:
            if since < change.revision <= self.position.revision:
                last.pop(change.key, None)
                last[change.key] = change
        return [
            change
            for key, change in last.items()
            if key not in self._objects
            and change.before is not None
            and is_selected(selection, change.before)
        ]

    async def records(self, space: str) -> Mapping[str, Any]:
        return deepcopy(self._store.kept.get(space, {}))

    async def record(self, space: str, name: str) -> Any:
        return (await self.records(space)).get(name)


class MemoryTransaction:
    """Works on copies; the store takes them over if the unit of work ends well."""

    def __init__(self, store: "MemoryStore") -> None:
        self.base = store.at
        self.objects = dict(store.objects)
        self.kept = deepcopy(store.kept)
        self.changes: list[Change] = []
        self.audited: list[AuditRecord] = []
        self._revision = Revision(store.at.revision + 1)

    async def get(self, key: Key) -> Stored | None:
        return self.objects.get(key)

    async def list(self, selection: Selection = EVERYTHING) -> Sequence[Stored]:
        return [each for _, each in sorted(self.objects.items()) if is_selected(selection, each)]

    async def put(self, draft: Draft, *, expected: Revision | None = None) -> Stored:
        before = self._check(draft.key, expected)
        same = before is not None and (before.spec, before.labels, before.annotations) == (
            draft.spec,
            draft.labels,
            draft.annotations,
        )
        if before is not None and same:
            return before
        after = Stored(
            key=draft.key,
            uid=before.uid if before else f"uid-{self._revision}-{draft.key.name}",
            spec=dict(draft.spec),
            labels=dict(draft.labels),
            annotations=dict(draft.annotations),
            origin=draft.origin,
            revision=self._revision,
            generation=Generation(
                1 if before is None else before.generation + (before.spec != draft.spec)
            ),
            created_at=EPOCH,
            updated_at=EPOCH,
        )
        self.objects[draft.key] = after
        self.changes.append(Change(self._revision, Operation.PUT, draft.key, before, after))
        return after

    async def delete(self, key: Key, *, expected: Revision | None = None) -> Stored:
        before = self._check(key, expected)
        if before is None:
            raise NotFound(f"there is no {key}")
        del self.objects[key]
        self.changes.append(Change(self._revision, Operation.DELETE, key, before, None))
        return before

    async def put_record(self, space: str, name: str, value: Any) -> None:
        self.kept.setdefault(space, {})[name] = deepcopy(value)

    async def delete_record(self, space: str, name: str) -> None:
        self.kept.get(space, {}).pop(name, None)

    async def record(self, space: str, name: str) -> Any:
        return deepcopy(self.kept.get(space, {}).get(name))

    async def records(self, space: str) -> Mapping[str, Any]:
        return deepcopy(self.kept.get(space, {}))

    async def audit(self, record: AuditRecord) -> None:
        self.audited.append(record)

    def _check(self, key: Key, expected: Revision | None) -> Stored | None:
        before = self.objects.get(key)
        if expected is not None and expected != (before.revision if before else 0):
            raise RevisionConflict(f"{key} is at another revision")
        return before


class MemoryStore:
    def __init__(self, incarnation: str = "life-1") -> None:
        self.at = Position(Incarnation(incarnation), Revision(0), "start")
        self.objects: dict[Key, Stored] = {}
        self.kept: dict[str, dict[str, Any]] = {}
        self.log: list[Commit] = []
        self.deletions: list[Change] = []
        self.audits: list[AuditRecord] = []
        self.oldest = Revision(0)
        self._past: dict[int, tuple[Position, dict[Key, Stored]]] = {0: (self.at, {})}
        self._moved = asyncio.Event()

    async def position(self) -> Position:
        return self.at

    @asynccontextmanager
    async def snapshot(self, at: Revision | None = None) -> AsyncIterator[MemorySnapshot]:
        revision = self.at.revision if at is None else at
        if revision > self.at.revision:
            raise Invalid(f"revision {at} lies in the future", code="revision_in_future")
        if revision < self.oldest:
            raise RevisionCompacted(f"revision {at} is compacted", oldest=self.oldest)
        position, objects = self._past[revision]
        yield MemorySnapshot(self, objects, position)

    def recent(self) -> AbstractAsyncContextManager[MemorySnapshot]:
        return self.snapshot()

    async def latest(self, key: Key) -> Stored | None:
        async with self.snapshot() as snapshot:
            return await snapshot.get(key)

    async def transact(
        self,
        work: Callable[[MemoryTransaction], Awaitable[Any]],
        *,
        request_id: str | None = None,
        validated_at: Revision | None = None,
        depends_on: Selection | None = None,
    ) -> Committed[Any]:
        transaction = MemoryTransaction(self)
        result = await work(transaction)
        assert transaction.base == self.at, "the unit of work let another one in"
        self.kept = transaction.kept
        self.audits += transaction.audited
        if transaction.changes:
            self._commit(transaction)
        return Committed(result, self.at)

    async def watch(
        self, after: Revision, *, selection: Selection = EVERYTHING
    ) -> AsyncIterator[Commit | Bookmark]:
        if after < self.oldest:
            raise RevisionCompacted(f"revision {after} is compacted", oldest=self.oldest)
        while True:
            self._moved.clear()
            for commit in [each for each in self.log if each.revision > after]:
                after = commit.revision
                changes = tuple(
                    each
                    for each in commit.changes
                    if any(s and is_selected(selection, s) for s in (each.before, each.after))
                )
                if changes:
                    yield replace(commit, changes=changes)
                else:
                    yield Bookmark(commit.revision, commit.digest)
            if not any(each.revision > after for each in self.log):
                await self._moved.wait()

    async def compact(self, before: Revision) -> None:
        self.oldest = before

    async def audit(self, records: Sequence[AuditRecord], *, request_id: str | None = None) -> None:
        self.audits += records

    def restored(self, incarnation: str, revision: int) -> "MemoryStore":
        """Return what a restore of a backup made at `revision` gives: a new life."""
        other = MemoryStore(incarnation)
        position, objects = self._past[revision]
        other.at = replace(position, incarnation=Incarnation(incarnation))
        other.objects = dict(objects)
        other.oldest = position.revision
        other._past = {revision: (other.at, dict(objects))}
        return other

    def _commit(self, transaction: MemoryTransaction) -> None:
        revision = Revision(self.at.revision + 1)
        text = f"{self.at.digest}{transaction.changes!r}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.objects = transaction.objects
        self.at = Position(self.at.incarnation, revision, digest)
        self._past[revision] = (self.at, dict(self.objects))
        self.log.append(Commit(revision, digest, tuple(transaction.changes)))
        self.deletions += [c for c in transaction.changes if c.operation is Operation.DELETE]
        self._moved.set()
