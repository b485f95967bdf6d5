"""Units of work: all-or-nothing writes that share one revision.

Several units run one after another in one database transaction.  What each writes is kept in
memory until its end, so that a unit that fails has written nothing and hurts no other; the
batch's writes then go out table by table.  Reads see the database beneath the earlier units'
writes beneath the unit's own.
"""

import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.errors import HanseError, Invalid, NotFound, RevisionConflict
from shared.ids import Generation, Incarnation, Key, Revision
from shared.store import links, reading
from shared.store.chain import Tip
from shared.store.contract import (
    ABSENT,
    EVERYTHING,
    JSON,
    AuditRecord,
    Change,
    Commit,
    Draft,
    Head,
    Operation,
    Position,
    SealText,
    Selection,
    Stored,
    Unsealed,
)
from shared.store.digest import chain
from shared.store.faults import translated
from shared.store.mapping import canonical, load, plain
from shared.store.recent import UNKNOWN, Mark, Unknown

Connect = Callable[[], Awaitable[AsyncConnection]]


class Counted(NamedTuple):
    """The counter's row."""

    id: int
    incarnation: Incarnation
    revision: Revision
    digest: str
    oldest: Revision
    status_sequence: int
    audit_number: int


def mark_of(counted: Counted) -> Mark:
    return Mark(counted.incarnation, counted.revision, counted.digest, counted.status_sequence)


@dataclass(slots=True)
class Batch:
    """What the units of one database transaction have written so far."""

    counted: Counted
    """What stands in the database beneath the batch."""
    connect: Connect
    """Gives the database transaction, which holds the lock from then on."""
    recall: Callable[[Key], Stored | Unknown | None]
    """Gives an object as it stands beneath the batch, if it is in memory."""
    keep: Callable[[Key, Stored | None], None]
    """Takes an object that was read beneath the batch, for others to recall."""
    now: datetime
    position: Position = field(init=False)
    status_sequence: int = field(init=False)
    audit_number: int = field(init=False)
    objects: dict[Key, Stored | None] = field(default_factory=dict)
    records: dict[tuple[str, str], JSON | None] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    audits: list[tuple[int, AuditRecord]] = field(default_factory=list)
    pages: list[tuple[int, Sequence[AuditRecord]]] = field(default_factory=list)
    """Records that are kept together, with the number of the first."""
    seals: list[SealText] = field(default_factory=list)
    sealed: dict[str, int] = field(default_factory=dict)
    """Up to which position each chain is sealed by these."""
    tip: Tip | None = None
    """Where this process's chain ends once the batch is committed; None: where it did."""
    statuses: dict[Key, tuple[int, JSON] | None] = field(default_factory=dict)
    """None: the object is gone, and its status with it."""
    requests: dict[str, Position] = field(default_factory=dict)
    failure: HanseError | None = None
    """The database's own; the batch's transaction can't be used any more."""

    def __post_init__(self) -> None:
        counted = self.counted
        self.position = Position(counted.incarnation, counted.revision, counted.digest)
        self.status_sequence = counted.status_sequence
        self.audit_number = counted.audit_number

    @property
    def counter(self) -> Counted:
        """What stands in the database once the batch is committed."""
        return self.counted._replace(
            revision=self.position.revision,
            digest=self.position.digest,
            status_sequence=self.status_sequence,
            audit_number=self.audit_number,
        )

    @property
    def has_writes(self) -> bool:
        return bool(
            self.commits
            or self.audits
            or self.pages
            or self.seals
            or self.records
            or self.statuses
            or self.requests
        )

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Notice that the database failed beneath a unit, whatever the unit makes of it."""
        if self.failure:
            raise self.failure
        try:
            with translated("read within a transaction"):
                yield
        except HanseError as exc:
            self.failure = exc
            raise


class SqlTransaction:
    """Made by the store for one run of a unit of work; see contract.Transaction."""

    def __init__(self, batch: Batch, *, new_uid: uuid.UUID) -> None:
        """`new_uid` names the first object created; further ones are derived from it."""
        self._batch = batch
        self._base = batch.position
        self._revision = Revision(batch.position.revision + 1)
        self._uid = new_uid
        self._uids = 0
        self._before: dict[Key, Stored | None] = {}
        self._objects: dict[Key, Stored | None] = {}
        self._records: dict[tuple[str, str], JSON | None] = {}
        self._audits: list[tuple[AuditRecord, JSON]] = []
        self._statuses: dict[Key, tuple[int, JSON]] = {}
        self._page: Sequence[AuditRecord] = ()
        self._seal: tuple[SealText, Sequence[Head]] | None = None

    @property
    def base(self) -> Position:
        return self._base

    async def get(self, key: Key) -> Stored | None:
        if key in self._objects:
            return self._objects[key]
        if key in self._batch.objects:
            return self._batch.objects[key]
        recalled = self._batch.recall(key)
        if recalled is not UNKNOWN:
            return recalled
        with self._batch.guarded():
            found = await reading.find(await self._batch.connect(), key)
        self._batch.keep(key, found)
        return found

    async def list(self, selection: Selection = EVERYTHING) -> Sequence[Stored]:
        with self._batch.guarded():
            found = await reading.find_all(await self._batch.connect(), selection)
        written = {**self._batch.objects, **self._objects}
        if not written:
            return found
        test = reading.label_test(selection)
        found = [stored for stored in found if stored.key not in written]
        found += [
            stored
            for key, stored in written.items()
            if stored and reading.matches_key(selection, key) and test(stored.labels)
        ]
        return sorted(found, key=lambda stored: stored.key)

    async def put(self, draft: Draft, *, expected: Revision | None = None) -> Stored:
        if any("\x00" in part for part in draft.key):
            raise Invalid(f"{draft.key!r} has a NUL character in it", code="invalid_name")
        current = await self.get(draft.key)
        _check_expected(draft.key, current, expected)
        spec = plain(draft.spec)
        if current and _says(current, draft, spec):
            return current
        before = self._before.setdefault(draft.key, current)
        stored = Stored(
            key=draft.key,
            uid=current.uid if current else self._next_uid(),
            spec=spec,
            labels=plain(draft.labels),
            annotations=plain(draft.annotations),
            origin=draft.origin,
            revision=self._revision,
            generation=_generation(before, current, spec),
            created_at=current.created_at if current else self._batch.now,
            updated_at=self._batch.now,
            status=current.status if current else {},
        )
        self._objects[draft.key] = stored
        return stored

    async def delete(self, key: Key, *, expected: Revision | None = None) -> Stored:
        current = await self.get(key)
        _check_expected(key, current, expected)
        if current is None:
            raise NotFound(f"there is no {key}")
        self._before.setdefault(key, current)
        self._objects[key] = None
        return current

    async def put_record(self, space: str, name: str, value: JSON) -> None:
        self._records[space, name] = plain(value)

    async def delete_record(self, space: str, name: str) -> None:
        self._records[space, name] = None

    async def record(self, space: str, name: str) -> JSON | None:
        for written in (self._records, self._batch.records):
            if (space, name) in written:
                return written[space, name]
        with self._batch.guarded():
            return await reading.record_of(await self._batch.connect(), space, name)

    async def records(self, space: str) -> Mapping[str, JSON]:
        with self._batch.guarded():
            found = await reading.records_of(await self._batch.connect(), space)
        for written in (self._batch.records, self._records):
            for (where, name), value in written.items():
                if where != space:
                    continue
                if value is None:
                    found.pop(name, None)
                else:
                    found[name] = value
        return dict(sorted(found.items()))

    async def audit(self, record: AuditRecord) -> None:
        self._audits.append((record, plain(record.diff)))

    async def audit_page(self, records: Sequence[AuditRecord]) -> None:
        """Append records that are kept together; they take no revision."""
        self._page = [*self._page, *records]

    async def unsealed(self) -> Unsealed:
        """Return what a seal is made of: what is committed beneath this batch."""
        batch = self._batch
        with batch.guarded():
            connection = await batch.connect()
            heads = await links.heads_of(connection)
            last = await links.last_seal(connection)
            unchained = 0 if last else await links.last_unchained(connection)
        return Unsealed(
            incarnation=batch.counted.incarnation,
            number=batch.counted.audit_number,
            unchained=unchained,
            heads=[
                replace(head, sealed=max(head.sealed, batch.sealed.get(head.chain, 0)))
                for head in heads
            ],
            last=batch.seals[-1] if batch.seals else last,
        )

    async def put_seal(self, seal: SealText, heads: Sequence[Head]) -> None:
        """Append a seal over heads of chains."""
        self._seal = seal, heads

    async def put_statuses(self, statuses: Mapping[Key, JSON | None]) -> None:
        """Replace observed state; see Store.put_status.  What already stands is left alone."""
        with self._batch.guarded():
            found = await reading.statuses_of(await self._batch.connect(), list(statuses))
        for key, status in statuses.items():
            text = found.get(key)
            current = load(text) if text else {}
            exists = key in found
            if key in self._batch.objects:
                exists = self._batch.objects[key] is not None
            if (pending := self._batch.statuses.get(key)) is not None:
                current = pending[1]
            wanted = plain(status or {})
            if exists and canonical(wanted) != canonical(current):
                self._batch.status_sequence += 1
                self._statuses[key] = (self._batch.status_sequence, wanted)

    async def check(self, validated_at: Revision, depends_on: Selection) -> None:
        """Raise RevisionConflict if a selected object changed after `validated_at`."""
        if validated_at > self._base.revision:
            raise Invalid(
                f"revision {validated_at} lies in the future: the store is at "
                f"{self._base.revision}",
                code="revision_in_future",
            )
        changed: Key | None = None
        if validated_at < self._batch.counted.revision:
            with self._batch.guarded():
                connection = await self._batch.connect()
                changed = await reading.outdated(connection, validated_at, depends_on)
        for commit in self._batch.commits:
            for change in commit.changes:
                if reading.matches(depends_on, change):
                    changed = change.key
        if changed is not None:
            raise RevisionConflict(
                f"{changed} was changed after revision {validated_at}, at which this was "
                "validated: try again",
                code="validation_outdated",
            )

    def finish(self) -> Position:
        """Hand this unit's writes to the batch and return the position after them."""
        batch = self._batch
        changes = tuple(self._changes())
        if changes:
            digest = chain(self._base.digest, changes)
            batch.position = replace(self._base, revision=self._revision, digest=digest)
            batch.commits.append(Commit(self._revision, digest, changes))
        revision = self._revision if changes else None
        for record, diff in self._audits:
            batch.audit_number += 1
            last = replace(record, diff=diff, revision=revision or record.revision)
            batch.audits.append((batch.audit_number, last))
        if self._page:
            batch.pages.append((batch.audit_number + 1, self._page))
            batch.audit_number += len(self._page)
        if self._seal:
            seal, heads = self._seal
            batch.seals.append(seal)
            batch.sealed |= {head.chain: head.position for head in heads}
        for change in changes:
            batch.objects[change.key] = self._as_it_stands(change)
            if change.before and (not change.after or change.after.uid != change.before.uid):
                batch.statuses[change.key] = None
        batch.records |= self._records
        for key, (sequence, status) in self._statuses.items():
            batch.statuses[key] = (sequence, status)
            if stored := batch.objects.get(key):
                batch.objects[key] = replace(stored, status=status)
        return batch.position

    def _as_it_stands(self, change: Change) -> Stored | None:
        """Return what this unit wrote with the object's status, which no change carries."""
        stored, pending = self._objects[change.key], self._batch.statuses.get(change.key)
        if stored and pending and change.before and change.before.uid == stored.uid:
            return replace(stored, status=pending[1])
        return stored

    def _changes(self) -> Sequence[Change]:
        return [
            Change(
                revision=self._revision,
                operation=Operation.PUT if after else Operation.DELETE,
                key=key,
                before=_without_status(before),
                after=_without_status(after),
            )
            for key, after in self._objects.items()
            if not _equal(before := self._before[key], after)
        ]

    def _next_uid(self) -> str:
        self._uids += 1
        if self._uids == 1:
            return str(self._uid)
        return str(uuid.uuid5(self._uid, str(self._uids)))


def _without_status(stored: Stored | None) -> Stored | None:
    return replace(stored, status={}) if stored and stored.status else stored


def _check_expected(key: Key, current: Stored | None, expected: Revision | None) -> None:
    found = current.revision if current else ABSENT
    if expected is None or expected == found:
        return
    if expected == ABSENT:
        raise RevisionConflict(f"{key} is already there, at revision {found}; read it first")
    now = f"at revision {found}" if current else "gone"
    raise RevisionConflict(f"{key} is {now}, not at revision {expected}; read it again")


def _generation(before: Stored | None, current: Stored | None, spec: JSON) -> Generation:
    """Count a spec once however often one transaction writes it."""
    if current is None:
        return Generation(1)
    if before is None or before.uid != current.uid:
        return current.generation
    same = canonical(before.spec) == canonical(spec)
    return before.generation if same else Generation(before.generation + 1)


def _says(current: Stored, draft: Draft, spec: JSON) -> bool:
    return (
        current.origin == draft.origin
        and dict(current.labels) == dict(draft.labels)
        and dict(current.annotations) == dict(draft.annotations)
        and canonical(current.spec) == canonical(spec)
    )


def _equal(before: Stored | None, after: Stored | None) -> bool:
    """Say whether a transaction's end is its beginning, whatever came between."""
    if before is None or after is None:
        return before is after
    return (
        before.uid == after.uid
        and before.origin == after.origin
        and before.labels == after.labels
        and before.annotations == after.annotations
        and canonical(before.spec) == canonical(after.spec)
    )
