"""Drop what has expired by itself, and what belongs to sites that are no more.

A site that is deleted is out: its certificates are revoked, lest they count again for a site that
is given the same name later.
"""

from fsm.feed.acks import HEARD, REPORTS
from fsm.feed.delivered import forget
from fsm.feed.item import SUBSCRIPTION
from shared.clock import Clock
from shared.enrolment.register import Revocations, forget_expired, revoke_unknown
from shared.store.contract import Selection, Store, Transaction
from shared.tasks.loop import Outcome


class Tidy:
    """A reconciler over the FSM's records; also reads the revocations that count."""

    name = "tidy records"

    def __init__(self, store: Store, revocations: Revocations, *, clock: Clock) -> None:
        self._store = store
        self._revocations = revocations
        self._clock = clock

    async def reconcile(self) -> Outcome:
        now = self._clock.now()

        async def work(transaction: Transaction) -> int:
            stored = await transaction.list(Selection(kinds=frozenset({"Site", SUBSCRIPTION})))
            sites = {each.key.name for each in stored if each.key.kind == "Site"}
            await revoke_unknown(transaction, is_known=lambda each: _site_of(each) in sites)
            dropped = await forget_expired(transaction, now=now)
            dropped += await forget(transaction, sites=sites, now=now)
            for space in (HEARD, REPORTS):
                for name in set(await transaction.records(space)) - sites:
                    await transaction.delete_record(space, name)
                    dropped += 1
            for each in stored:
                if each.key.kind == SUBSCRIPTION and each.key.name not in sites:
                    await transaction.delete(each.key)
                    dropped += 1
            return dropped

        dropped = (await self._store.transact(work)).result
        async with self._store.snapshot() as snapshot:
            await self._revocations.read(snapshot)
        return Outcome(changed=dropped)


def _site_of(identity: str) -> str:
    """Return the site of `spiffe://SITE.TRUST-DOMAIN/sdsp`; the FSM issues to sites only."""
    return identity.removeprefix("spiffe://").partition(".")[0]
