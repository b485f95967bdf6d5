"""A site that is cut off on purpose: it opens no connection to its FSM until a time, or a person.

That is a decision of a person, kept in the store with its audit record; a restart doesn't end it.
The site says so upwards before it falls silent, so that nobody takes it for a fault.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn, Protocol

from shared.access.permissions import Permission
from shared.clock import Clock
from shared.errors import Conflict, FieldError, HanseError, Invalid
from shared.objects.call import Call
from shared.objects.trail import Trail
from shared.store.contract import AuditRecord, Store, Transaction
from shared.tasks.group import Group

log = logging.getLogger(__name__)

DETACHED: Final = "detached"
"""The error of a link that is shut on purpose."""

_SPACE: Final = "feed"
_LAST_WORD: Final = 5.0
"""Seconds that the last word upwards may take."""

# The wall clock may be set while we wait for a time that is by it.
_LOOK: Final = 30.0
_RETRY: Final = 1.0


@dataclass(frozen=True, slots=True)
class Detached:
    """Since when the link is shut, until when, by whom and why."""

    since: datetime
    until: datetime
    by: str
    reason: str

    def to_json(self) -> dict[str, str]:
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "by": self.by,
            "reason": self.reason,
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Detached":
        return cls(
            since=datetime.fromisoformat(record["since"]),
            until=datetime.fromisoformat(record["until"]),
            by=record["by"],
            reason=record["reason"],
        )


class Follows(Protocol):
    """Whoever keeps the link: shared.feed.follow.Follower."""

    async def run(self) -> NoReturn: ...

    def ended(self, why: str) -> None: ...


class Detachment:
    """Use after load()."""

    def __init__(self, store: Store, *, clock: Clock, now: Callable[[], datetime]) -> None:
        """`now` is the hour that ends a detachment: a clock that leaps doesn't."""
        self.standing: Detached | None = None
        """How the site is cut off on purpose; None if it isn't."""
        self.last_word: Callable[[], Awaitable[object]] = _nothing
        """Tells the FSM how the site stands, before the link is shut."""
        self._store = store
        self._clock = clock
        self._now = now
        self._changed = asyncio.Event()

    async def load(self) -> None:
        """Take up what was decided before a restart."""
        async with self._store.snapshot() as snapshot:
            record = await snapshot.record(_SPACE, DETACHED)
        self.standing = Detached.of(record) if record else None

    @property
    def is_detached(self) -> bool:
        return self.standing is not None

    async def detach(self, call: Call, trail: Trail, *, until: datetime, reason: str) -> Detached:
        """Cut the site off until a time; a later call changes the time and the reason.

        Invalid (`invalid_value`) if that time is past.
        """
        now = self._now()
        if until <= now:
            message = "that time is past; give one that is still to come"
            raise Invalid(
                message,
                code="invalid_value",
                fields=[FieldError("until", "invalid_value", message)],
            )
        before = self.standing
        since = before.since if before else now
        detached = Detached(since, until, call.caller.identity, reason)

        async def work(transaction: Transaction) -> None:
            await transaction.put_record(_SPACE, DETACHED, detached.to_json())
            record = trail.record(
                call,
                "upstream.detach",
                reason=reason,
                diff={"until": until.isoformat()},
                permission=Permission.DETACH,
            )
            await transaction.audit(record)

        await self._store.transact(work)
        self._become(detached)
        return detached

    async def attach(self, call: Call, trail: Trail, *, reason: str) -> None:
        """Let the site back before the time; Conflict (`not_detached`)."""
        if self.standing is None:
            raise Conflict("this site is not detached", code="not_detached")
        record = trail.record(call, "upstream.attach", reason=reason, permission=Permission.DETACH)
        await self._end(record)

    async def run(self, follower: Follows) -> NoReturn:
        """Let a follower run whenever the site isn't detached."""
        while True:
            if self.standing is not None:
                follower.ended(DETACHED)
                await self._until_over(self.standing)
                continue
            async with Group() as group:
                group.start(follower.run(), name="follow the FSM")
                while not self.is_detached:
                    await self._changed.wait()
                    self._changed.clear()
                await self._say_it()

    async def _until_over(self, standing: Detached) -> None:
        while self.standing is standing:
            left = (standing.until - self._now()).total_seconds()
            if left <= 0 and await self._is_over(standing):
                return
            if await self._clock.wait(self._changed, min(max(left, _RETRY), _LOOK)):
                self._changed.clear()

    async def _is_over(self, standing: Detached) -> bool:
        try:
            await self._end(_over(standing, self._clock.now()))
        except HanseError as exc:
            log.warning("can't end the detachment, will retry", extra={"code": exc.code})
            return False
        return True

    async def _say_it(self) -> None:
        try:
            async with asyncio.timeout(_LAST_WORD):
                await self.last_word()
        except (HanseError, TimeoutError) as exc:
            log.info("the FSM was not told of the detachment", extra={"error": str(exc)})

    async def _end(self, record: AuditRecord) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.delete_record(_SPACE, DETACHED)
            await transaction.audit(record)

        await self._store.transact(work)
        self._become(None)

    def _become(self, standing: Detached | None) -> None:
        self.standing = standing
        self._changed.set()


def _over(standing: Detached, now: datetime) -> AuditRecord:
    return AuditRecord(
        at=now,
        request_id=f"attach-{standing.until:%Y%m%dT%H%M%S}",
        identity="system",
        action="upstream.attach",
        outcome="ok",
        reason="the time for which the site was detached is over",
    )


async def _nothing() -> None:
    return None
