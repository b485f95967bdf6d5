"""What a store of revisioned objects promises, whatever database is beneath.

One counter of revisions per store, and an incarnation that names one life of it.  A transaction
takes one revision and is all or nothing; a snapshot sees one revision; a watch yields every later
change once and in order.  Values are plain JSON data: the store knows keys, labels and revisions,
not kinds.

Spec and status are two worlds.  Spec changes take a revision, enter history and the watch log, and
carry an audit record in the same transaction.  Status is the latest observed value only, has a
sequence of its own and no history.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Generic, Protocol, TypeVar

from shared.ids import Generation, Incarnation, Key, Revision

ABSENT: Final = Revision(0)
"""As an expected revision: there must be no such object."""

JSON = Mapping[str, Any]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Draft:
    """What a writer wants an object to be."""

    key: Key
    spec: JSON
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None
    """On an SDSP: `federation`, `region/NAME` or `local`; None on the FSM."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it stands at some revision.  `status` is the latest, not that revision's."""

    key: Key
    uid: str
    spec: JSON
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    origin: str | None
    revision: Revision
    generation: Generation
    created_at: datetime
    updated_at: datetime
    status: JSON = field(default_factory=dict)


class Operation(StrEnum):
    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One object's change within a revision.

    Of a deletion, `after` is None and `before` the last version; of a creation, `before` is None.
    Neither carries a status.  Watchers share one Change: it must not be modified.
    """

    revision: Revision
    operation: Operation
    key: Key
    before: Stored | None
    after: Stored | None


@dataclass(frozen=True, slots=True)
class Commit:
    """One revision's changes, whole: a watcher never sees half of a transaction."""

    revision: Revision
    digest: str
    """Chains a SHA-256 over all changes since the store was created."""
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Nothing else happened up to here."""

    revision: Revision
    digest: str


@dataclass(frozen=True, slots=True)
class StatusChange:
    sequence: int
    key: Key
    status: JSON


@dataclass(frozen=True, slots=True)
class Position:
    """Where a store is: its incarnation, last revision and the digest there."""

    incarnation: Incarnation
    revision: Revision
    digest: str


@dataclass(slots=True)
class AuditRecord:
    """Who did what; append-only.  `diff` holds the fields before and after, secrets left out.

    `authority` says why it was permitted (a role and its binding), `credential` with what the
    caller proved himself (a token's id, a certificate's serial), `seconds` how long the request
    had taken when this was recorded, kept to the microsecond.  It isn't frozen since thousands a
    second are made, and freezing doubles what each costs; nobody changes one.
    """

    at: datetime
    request_id: str
    identity: str
    action: str
    outcome: str
    tenant: str | None = None
    key: Key | None = None
    source_address: str | None = None
    diff: JSON = field(default_factory=dict)
    reason: str | None = None
    revision: Revision | None = None
    trace_id: str | None = None
    authority: str | None = None
    credential: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """An audit record as a link of its process's chain; see shared.store.chain.

    `line` is what the hash is over.  `hash` may be its first digits only.  A record from before
    there were chains has none.  Of records up to `last` that can't be read, `line` is None.
    """

    number: int
    chain: str | None
    position: int | None
    hash: str | None
    line: bytes | None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """A chain's last link, and the position up to which it is sealed."""

    chain: str
    position: int
    hash: str
    number: int
    sealed: int


@dataclass(frozen=True, slots=True)
class SealText:
    """A seal as it is kept; what it says is shared.audit's business."""

    sequence: int
    body: str
    hash: str
    signature: str


@dataclass(frozen=True, slots=True)
class Unsealed:
    """What a new seal is made of: all heads, the number of the last record, the last seal.

    `unchained` is the number of the last record that is in no chain.
    """

    incarnation: Incarnation
    number: int
    unchained: int
    heads: Sequence[Head]
    last: SealText | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects: None means any.  `labels` decides by an object's labels and runs on rows
    that the other terms let through.
    """

    kinds: frozenset[str] | None = None
    tenants: frozenset[str] | None = None
    scopes: frozenset[str] | None = None
    names: frozenset[str] | None = None
    labels: Callable[[Mapping[str, str]], bool] | None = None


EVERYTHING: Final = Selection()


class Snapshot(Protocol):
    """A consistent view at one revision; cannot write."""

    @property
    def position(self) -> Position: ...

    async def get(self, key: Key) -> Stored | None:
        """Return the object as of this revision; None if there is none."""

    async def list(
        self,
        selection: Selection = EVERYTHING,
        *,
        after: Key | None = None,
        limit: int | None = None,
    ) -> Sequence[Stored]:
        """Return objects in key order, from the one behind `after`, at most `limit`."""

    async def deleted(self, since: Revision, selection: Selection = EVERYTHING) -> Sequence[Change]:
        """Return the deletions after `since` of objects that are gone here, in order.

        Of each object, the last one.  They are there however old: compaction leaves them.
        """

    async def records(self, space: str) -> Mapping[str, JSON]:
        """Return the component's own records of a space by name; see Transaction.put_record.

        Records have no history: of an old revision's snapshot they are the latest.
        """

    async def record(self, space: str, name: str) -> JSON | None: ...


class Transaction(Protocol):
    """All-or-nothing writes that share one revision; handed to a unit of work by Store.transact.

    Reads see the latest state and this transaction's own writes.
    """

    @property
    def base(self) -> Position:
        """The store's position beneath this transaction's writes."""

    async def get(self, key: Key) -> Stored | None: ...

    async def list(self, selection: Selection = EVERYTHING) -> Sequence[Stored]: ...

    async def put(self, draft: Draft, *, expected: Revision | None = None) -> Stored:
        """Create an object or replace it; return it as it will stand.

        With `expected`, only if it is still at that revision (ABSENT: if there is none), else
        RevisionConflict.  Writing what is already there changes nothing and takes no revision.
        A change of labels or annotations alone leaves the generation.
        """

    async def delete(self, key: Key, *, expected: Revision | None = None) -> Stored:
        """Delete an object and return its last version; NotFound, RevisionConflict."""

    async def put_record(self, space: str, name: str, value: JSON) -> None:
        """Write one of the component's own records (a feed position, a spent token's serial).

        Records are not objects: no revision, no watch, no history, nothing a person sees.
        """

    async def delete_record(self, space: str, name: str) -> None:
        """Delete a record; nothing happens if there is none."""

    async def record(self, space: str, name: str) -> JSON | None: ...

    async def records(self, space: str) -> Mapping[str, JSON]: ...

    async def audit(self, record: AuditRecord) -> None:
        """Append an audit record; its revision is this transaction's, if it takes one."""


@dataclass(frozen=True, slots=True)
class Committed(Generic[Result]):
    """What a unit of work returned, and where the store stood after it."""

    result: Result
    position: Position
    replayed: bool = False
    """The request id had been committed before; nothing ran now and `result` is None."""


class LedgerView(Protocol):
    """The audit trail as it stood at one moment, as what it proves."""

    @property
    def incarnation(self) -> Incarnation: ...

    @property
    def counted(self) -> int:
        """The number of the last record."""

    async def links(self, after: int, limit: int) -> Sequence[Link]:
        """Return about `limit` links in the order of numbers, from the one behind `after`."""

    async def heads(self) -> Sequence[Head]: ...

    async def seals(self, after: int, limit: int) -> Sequence[SealText]:
        """Return seals in order, from the one behind `after`."""

    async def records(self, space: str) -> Mapping[str, JSON]: ...


class Ledger(Protocol):
    """The audit trail as what it proves: chains of records, and seals over their heads."""

    def view(self) -> AbstractAsyncContextManager[LedgerView]: ...

    async def seal(self, make: Callable[[Unsealed], SealText | None]) -> SealText | None:
        """Append the seal that `make` returns, one writer at a time; it may be asked again."""

    async def retire(self, number: int, limit: int) -> int:
        """Remove about `limit` of the records up to a number, the oldest; return how many."""

    async def retire_seals(self, before: int, *, ended: Sequence[str]) -> None:
        """Remove the seals before a sequence number, and forget chains that have ended."""


class Store(Protocol):
    @property
    def ledger(self) -> Ledger: ...

    async def position(self) -> Position: ...

    def snapshot(self, at: Revision | None = None) -> AbstractAsyncContextManager[Snapshot]:
        """Open a consistent view of the latest, or of an older revision.

        RevisionCompacted if `at` is older than the log; Invalid if it lies in the future.
        """

    async def latest(self, key: Key) -> Stored | None:
        """Return the object as it is now: whatever was acknowledged before this call is seen.

        While an object is what it was, its Stored is often the same one: whoever derives
        something from it may keep that beside it.
        """

    def recent(self) -> AbstractAsyncContextManager[Snapshot]:
        """Open a consistent view of what this process knows, mostly from memory.

        It may lack what other processes have just written.  It is for judging what transact()
        then commits with `validated_at`, or whose `expected` says what was read.
        """

    async def transact(
        self,
        work: Callable[[Transaction], Awaitable[Result]],
        *,
        request_id: str | None = None,
        validated_at: Revision | None = None,
        depends_on: Selection | None = None,
    ) -> Committed[Result]:
        """Run a unit of work and commit it; on any exception nothing is written.

        The unit may be run again on a serialisation failure: it must do nothing but use the
        transaction.  With `validated_at` and `depends_on`, RevisionConflict (code
        `validation_outdated`) if a selected object changed after that revision: validate again.
        With a `request_id` committed within the last 24 h nothing runs and `replayed` is true.
        Units that wait at the same time share one commit; each has its own revision and outcome.
        Errors: what `work` raises; RevisionConflict; StorageFull; Unavailable, whose code
        `commit_unknown` says that it may have been committed: send the same request id again.
        """

    async def committed(self, request_id: str) -> Revision | None:
        """Return the revision at which a request was committed in the last 24 h, if it was."""

    async def put_status(self, statuses: Mapping[Key, JSON | None]) -> None:
        """Replace observed state (None: remove it); of an object that is gone, ignored."""

    def watch(
        self, after: Revision, *, selection: Selection = EVERYTHING
    ) -> AsyncIterator[Commit | Bookmark]:
        """Yield each later commit once and in order, then bookmarks while it is quiet.

        Commits without a selected change become bookmarks.  A watcher may be as slow as it
        likes: nothing is buffered for it, it reads on from the log.  It outlives the database's
        restart; while that is away no bookmarks come.

        Errors: RevisionCompacted if `after` is older than the log, or has become so: list again;
        Gone (`history_diverged`) if the database was replaced beneath; Invalid if `after` lies in
        the future; Unavailable: watch again after the last position.
        """

    def watch_status(self, after: int) -> AsyncIterator[StatusChange]:
        """Yield the latest status of each object written after a sequence, then what follows.

        Of several writes between two readings only the last comes.  A removed status is empty;
        the removal of an object with its status is told by `watch` alone.
        """

    async def history(
        self, key: Key, *, before: Revision | None = None, limit: int = 100
    ) -> Sequence[Change]:
        """Return an object's changes, latest first, deletions included."""

    async def audit_records(
        self,
        *,
        tenants: Iterable[str] | None = None,
        key: Key | None = None,
        text: str | None = None,
        committed: bool = False,
        without: Iterable[str] = (),
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[tuple[int, AuditRecord]]:
        """Return audit records with their numbers, latest first.

        `committed` takes those alone that Transaction.audit() committed with what they tell of,
        none of audit(); `without` leaves out these actions.
        """

    async def audit(self, records: Sequence[AuditRecord], *, request_id: str | None = None) -> None:
        """Append records of reads and refusals, which take no transaction of their own.

        They are kept in pages: a thousand at once cost a fraction of what a thousand rows do.
        `request_id` is as for transact().
        """

    async def compact(self, before: Revision) -> None:
        """Make `before` the oldest revision to watch from and to read at; history stays.

        Invalid if it lies in the future.
        """

    async def close(self) -> None: ...
