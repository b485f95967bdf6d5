"""Keep the register of what has joined: revocations read, what has expired dropped."""

from datetime import timedelta
from typing import Final

from shared.clock import Clock
from shared.enrolment.register import forget_expired
from shared.enrolment.revocations import Revocations
from shared.ids import SITE
from shared.store.contract import Store, Transaction
from shared.tasks.loop import Outcome

# What has expired counts no longer anyway; it only takes room.
FORGET_PERIOD: Final = timedelta(minutes=10)


class KeepRegister:
    """A reconciler over the register of what has joined.

    Reading comes first: a revoked certificate is out even if the disk is too full to tidy up.
    """

    name = "keep the register of certificates"

    def __init__(self, store: Store, revocations: Revocations, *, clock: Clock) -> None:
        self._store = store
        self._revocations = revocations
        self._clock = clock
        self._forget_at = clock.monotonic()

    async def reconcile(self) -> Outcome:
        async with self._store.snapshot() as snapshot:
            await self._revocations.read(snapshot)
        if self._clock.monotonic() < self._forget_at:
            return Outcome()
        now = self._clock.now()

        async def work(transaction: Transaction) -> int:
            return await forget_expired(transaction, now=now, scope=SITE)

        dropped = (await self._store.transact(work)).result
        self._forget_at = self._clock.monotonic() + FORGET_PERIOD.total_seconds()
        return Outcome(changed=dropped)
