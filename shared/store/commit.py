"""Group commit: writers of one process that wait at the same time share one commit.

Whoever comes while nobody leads, leads: it opens the database transaction, runs its own unit and
all that wait, writes everything out and commits.  Meanwhile the next group gathers.  Each unit
has its own revision and its own outcome.

SQLite's writers mostly share one process, which then knows the counter and much else by heart.
Their units run on that before the lock is taken; the transaction's first statement takes it, its
second compares the counter, and if another process has written the units run again beneath the
lock.
"""

import asyncio
import logging
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.backoff import Backoff
from shared.clock import Clock
from shared.errors import HanseError, Unavailable
from shared.failpoints import pause
from shared.ids import Key, Revision
from shared.store import reading
from shared.store.chain import Chain
from shared.store.contract import EVERYTHING, Committed, Position, Selection, Stored
from shared.store.engine import Database
from shared.store.faults import SerializationFailure, translated
from shared.store.flush import REQUEST_LIFE, Flush, committed_requests, forget_requests
from shared.store.lane import Conditional
from shared.store.mapping import microseconds
from shared.store.prepared import Step, run_all
from shared.store.recent import UNKNOWN, Recent, Unknown
from shared.store.settling import to_its_end
from shared.store.transaction import Batch, Connect, Counted, SqlTransaction, mark_of

log = logging.getLogger(__name__)

Result = TypeVar("Result")

GROUP: Final = 256
"""Units that may share a commit; bounds how long the lock is held at once."""
ATTEMPTS: Final = 10
"""Runs of a group that the database keeps putting off with 40001; cockroach-go allows 50, but
here writers queue and hardly ever meet."""
FORGET_PERIOD: Final = 600.0
"""Seconds between two removals of request ids that are too old."""


class _Overtaken(HanseError):
    """Another process has written: what was known of the store isn't so any more."""

    def __init__(self) -> None:
        super().__init__("another process has written to the store")


class Unit(Generic[Result]):
    """A unit of work on its way; `outcome` is there once it is settled."""

    def __init__(
        self,
        work: Callable[[SqlTransaction], Awaitable[Result]],
        *,
        request_id: str | None = None,
        validated_at: Revision | None = None,
        depends_on: Selection | None = None,
    ) -> None:
        self.request_id = request_id
        self.outcome: Committed[Any] | BaseException | None = None
        self._work = work
        self._validated_at = validated_at
        self._depends_on = depends_on

    async def run(self, transaction: SqlTransaction) -> Result:
        if self._validated_at is not None:
            await transaction.check(self._validated_at, self._depends_on or EVERYTHING)
        return await self._work(transaction)


class GroupCommit:
    def __init__(
        self,
        database: Database,
        *,
        recent: Recent,
        published: Callable[[Batch], None],
        clock: Clock,
        source: random.Random,
    ) -> None:
        """`published` is told of each batch that was committed."""
        self._database = database
        self._recent = recent
        self._published = published
        self._clock = clock
        self._source = source
        self._flush = Flush(database.dialect)
        self._chain = Chain(lambda: f"{source.getrandbits(64):016x}")
        self._waiting: deque[Unit[Any]] = deque()
        self._lead = asyncio.Lock()
        self._forget_at = 0.0
        self._last: Counted | None = None
        self._trusted: Counted | None = None

    async def run(self, unit: Unit[Result]) -> Committed[Result]:
        """Commit a unit with whatever others wait; raise what its work raised."""
        self._waiting.append(unit)
        try:
            async with self._lead:
                if unit.outcome is None:
                    await to_its_end(self._lead_group())
        finally:
            # If cancelled before anybody took it, nobody shall.
            with suppress(ValueError):
                self._waiting.remove(unit)
        assert unit.outcome is not None
        if isinstance(unit.outcome, BaseException):
            raise unit.outcome
        return unit.outcome

    async def _lead_group(self) -> None:
        units = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
        try:
            await self._commit_or_settle(units)
        finally:
            # Only a mistake in here leaves one without an outcome; nobody shall wait for it.
            for unit in units:
                if unit.outcome is None:
                    unit.outcome = HanseError("the store made a mistake; it has been logged")

    async def _commit_or_settle(self, units: list[Unit[Any]]) -> None:
        backoff = Backoff(first=0.01, longest=1.0, source=self._source)
        for _ in range(ATTEMPTS):
            try:
                outcomes = await self._commit(units)
            except SerializationFailure as exc:
                error: HanseError = exc
                log.info("a commit was put off, will run it again", extra={"detail": exc.detail})
                await self._clock.sleep(backoff.next())
            except Unavailable as exc:
                error = exc
                break
            except HanseError as exc:
                # The database refused something of one unit; which, each alone will show.
                if len(units) > 1:
                    for unit in units:
                        await self._commit_or_settle([unit])
                    return
                error = exc
                break
            else:
                for unit, outcome in zip(units, outcomes, strict=True):
                    unit.outcome = outcome
                return
        for unit in units:
            unit.outcome = error

    async def _commit(self, units: list[Unit[Any]]) -> list[Committed[Any] | BaseException]:
        """Run units in one database transaction; return their outcomes once it is committed."""
        is_sure = False
        try:
            outcomes = await self._commit_once(units)
            is_sure = True
        except SerializationFailure:
            is_sure = True
            raise
        finally:
            if not is_sure:
                # Perhaps it was committed: what comes next must follow from something sure.
                self._chain.begin_anew()
        return outcomes

    async def _commit_once(self, units: list[Unit[Any]]) -> list[Committed[Any] | BaseException]:
        trusted, self._trusted = self._trusted, None
        if trusted is not None and not self._is_time_to_forget(units):
            try:
                batch, outcomes = await self._commit_unlocked(units, trusted)
            except _Overtaken:
                batch, outcomes = await self._commit_locked(units)
        else:
            batch, outcomes = await self._commit_locked(units)
        if batch.has_writes:
            try:
                with translated("commit to the store"):
                    await pause("store.commit.after")
            except Unavailable as exc:
                raise _of_commit(exc) from exc
        # While nobody else writes, the counter is known without reading it.
        if self._database.write_lane is not None and self._last in (None, batch.counted):
            self._trusted = batch.counter
        self._last = batch.counter
        if batch.tip is not None:
            self._chain.tip = batch.tip
        self._published(batch)
        return outcomes

    async def _commit_unlocked(
        self, units: list[Unit[Any]], trusted: Counted
    ) -> tuple[Batch, list[Committed[Any] | BaseException]]:
        """Run units on what is known of the store; write and commit in one hop, if it is still so.

        A unit that must read the database has the lock taken first.  Raises _Overtaken if
        another process has written.
        """
        connection: AsyncConnection | None = None
        async with AsyncExitStack() as stack:

            async def connect() -> AsyncConnection:
                nonlocal connection
                if connection is None:
                    connection = await stack.enter_async_context(self._database.write())
                    if await self._counted(connection) != trusted:
                        raise _Overtaken
                return connection

            batch = self._batch(trusted, connect)
            outcomes = [await self._run(unit, batch, {}) for unit in units]
            unheard = [self._request(unit.request_id) for unit in units if unit.request_id]
            if connection is None:
                await self._write_at_once(batch, unheard)
            else:
                if unheard and await self._known_requests(batch, units):
                    raise _Overtaken
                await self._write(batch, connection)
        return batch, outcomes

    async def _commit_locked(
        self, units: list[Unit[Any]]
    ) -> tuple[Batch, list[Committed[Any] | BaseException]]:
        """Take the lock, then read the counter, run the units, write and commit."""
        async with self._database.write() as connection:

            async def connect() -> AsyncConnection:
                return connection

            batch = self._batch(await self._counted(connection), connect)
            known = await self._known_requests(batch, units)
            outcomes = [await self._run(unit, batch, known) for unit in units]
            await self._write(batch, connection)
        return batch, outcomes

    async def _counted(self, connection: AsyncConnection) -> Counted:
        row = await reading.counters(connection, self._database.counter_for_update)
        return Counted(**row)

    def _batch(self, counted: Counted, connect: Connect) -> Batch:
        mark = mark_of(counted)

        def recall(key: Key) -> Stored | Unknown | None:
            return self._recent.get(key) if self._recent.mark == mark else UNKNOWN

        def keep(key: Key, stored: Stored | None) -> None:
            self._recent.keep(key, stored, mark)

        now = self._clock.now()
        return Batch(counted, connect=connect, recall=recall, keep=keep, now=now)

    async def _write(self, batch: Batch, connection: AsyncConnection) -> None:
        if not batch.has_writes:
            await connection.rollback()
            return
        await run_all(connection, await self._steps(batch))
        await pause("store.flush.after")
        await _commit(connection)

    async def _write_at_once(self, batch: Batch, unheard: list[Step]) -> None:
        work = Conditional(
            expected=tuple(batch.counted),
            counter=self._database.counter_for_update.with_rows(self._database.sql, [{}]),
            unheard=unheard,
            steps=await self._steps(batch) if batch.has_writes else [],
        )
        lane = self._database.write_lane
        assert lane is not None, "only then anything is trusted"
        try:
            done = await lane.run("write to the store", work.run)
        except Unavailable as exc:
            raise _of_commit(exc) if work.committing else exc from exc
        if not done:
            raise _Overtaken

    async def _steps(self, batch: Batch) -> list[Step]:
        await pause("store.flush.before")
        return self._flush.steps(batch, self._database.sql, self._chain.tip_at(batch.now))

    def _request(self, request_id: str) -> Step:
        since = microseconds(self._clock.now() - REQUEST_LIFE)
        return self._flush.find_request(self._database.sql, request_id, since=since)

    def _is_time_to_forget(self, units: list[Unit[Any]]) -> bool:
        due = self._clock.monotonic() >= self._forget_at
        return due and any(unit.request_id for unit in units)

    async def _known_requests(self, batch: Batch, units: list[Unit[Any]]) -> dict[str, Position]:
        ids = [unit.request_id for unit in units if unit.request_id]
        if not ids:
            return {}
        connection = await batch.connect()
        since = microseconds(batch.now - REQUEST_LIFE)
        if self._clock.monotonic() >= self._forget_at:
            self._forget_at = self._clock.monotonic() + FORGET_PERIOD
            await forget_requests(connection, before=since)
        return await committed_requests(
            connection, ids, since=since, incarnation=batch.position.incarnation
        )

    async def _run(
        self, unit: Unit[Any], batch: Batch, known: dict[str, Position]
    ) -> Committed[Any] | BaseException:
        request_id = unit.request_id
        if request_id and (position := known.get(request_id) or batch.requests.get(request_id)):
            return Committed(None, position, replayed=True)
        new_uid = uuid.UUID(int=self._source.getrandbits(128), version=4)
        transaction = SqlTransaction(batch, new_uid=new_uid)
        # As a task of its own, whose exception is a value: it is its caller's, not ours.
        results = await asyncio.gather(unit.run(transaction), return_exceptions=True)
        result: Any = results[0]
        if batch.failure:
            raise batch.failure
        if isinstance(result, BaseException):
            return result
        position = transaction.finish()
        if request_id:
            batch.requests[request_id] = position
        return Committed(result, position)


async def _commit(connection: AsyncConnection) -> None:
    try:
        with translated("commit to the store"):
            await pause("store.commit.before")
            await connection.commit()
    except Unavailable as exc:
        raise _of_commit(exc) from exc


def _of_commit(exc: Unavailable) -> Unavailable:
    if exc.code != "database_unavailable":
        return exc
    return Unavailable(
        "the database went away during the commit: it may have been done or not; "
        "send the same request id again to find out",
        code="commit_unknown",
        detail=exc.detail,
    )
