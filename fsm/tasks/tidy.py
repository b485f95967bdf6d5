"""Drop what has expired by itself, and what belongs to sites that are no more.

A site's certificates are revoked in the transaction that deletes it (fsm.sites.departed); here,
those that are left over from earlier releases, lest they count for a site of the same name later.
"""

from collections.abc import Container, Iterator, Mapping
from typing import Any

from fsm.feed.acks import HEARD, REPORTS
from fsm.feed.delivered import forget
from fsm.feed.item import SUBSCRIPTION
from shared.clock import Clock
from shared.enrolment.register import CERTIFICATES, Issued, forget_expired, revoke_unknown
from shared.enrolment.revocations import Revocations
from shared.ids import FEDERATION
from shared.store.contract import Selection, Store, Stored, Transaction
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
            sites = {each.key.name: each for each in stored if each.key.kind == "Site"}
            await revoke_unknown(transaction, is_known=lambda each: _is_known(each, sites), now=now)
            dropped = await forget_expired(transaction, now=now, scope=FEDERATION)
            dropped += await forget(transaction, sites=sites, now=now)
            for space in (HEARD, REPORTS):
                for name in set(await transaction.records(space)) - sites.keys():
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
            known = await snapshot.records(CERTIFICATES)
            reports = await snapshot.records(REPORTS)
        self._revocations.tell(_revoked_by_sites(reports, known))
        return Outcome(changed=dropped)


def _revoked_by_sites(reports: Mapping[str, Any], known: Container[str]) -> Iterator[str]:
    """Yield what sites say that they have revoked of their own.

    What the FSM itself has issued is none of theirs: a site could else put out another one.
    """
    for report in reports.values():
        said = report.get("trust") or {}
        yield from (serial for serial in said.get("revoked", ()) if serial not in known)


def _is_known(issued: Issued, sites: Mapping[str, Stored]) -> bool:
    """Return whether a certificate is the FSM's own, or that of a Site which is there."""
    host, _, path = issued.identity.removeprefix("spiffe://").partition("/")
    if path != "sdsp":
        return True
    site = sites.get(host.partition(".")[0])
    return site is not None and issued.owner in (None, site.uid)
