"""Drop join tokens, certificates and revocations that have expired, and read those that count."""

from shared.clock import Clock
from shared.enrolment.register import Revocations, forget_expired
from shared.store.contract import Store, Transaction
from shared.tasks.loop import Outcome


class ForgetExpired:
    """A reconciler over the register of what has joined."""

    name = "forget expired certificates"

    def __init__(self, store: Store, revocations: Revocations, *, clock: Clock) -> None:
        self._store = store
        self._revocations = revocations
        self._clock = clock

    async def reconcile(self) -> Outcome:
        now = self._clock.now()

        async def work(transaction: Transaction) -> int:
            return await forget_expired(transaction, now=now)

        dropped = (await self._store.transact(work)).result
        async with self._store.snapshot() as snapshot:
            await self._revocations.read(snapshot)
        return Outcome(changed=dropped)
