"""Publish which roots and which issuing CA count, put our own certificates on record, go on.

What counts lies in the FSM's folder; what is published follows it, whichever process or person
changed it, and however a change was cut short.  A root that was announced is taken into use once
every joined site, and every node of theirs, trusts it.  Of several processes one whose folder is a
copy, and behind, publishes nothing.
"""

from collections.abc import Callable, Container, Iterable, Sequence

from fsm.exchange import Behind, FolderSerials, beneath_another, is_left_behind, without_root
from fsm.feed.acks import REPORTS
from fsm.trust import FSMCredentials, Phase, has_key, take_root_into_use
from shared.clock import Clock
from shared.enrolment.anchors import ANCHORS, anchor
from shared.enrolment.register import (
    CERTIFICATES,
    drop_tokens,
    issued_in,
    record_certificate,
)
from shared.enrolment.revocations import revoked_in
from shared.errors import Conflict
from shared.pki.authority import trust_domain_of
from shared.pki.certificates import Certificate, fingerprint_of, is_signed_by, serial_of
from shared.pki.identity import SpiffeId
from shared.pki.jointoken import JoinKind
from shared.store.contract import Draft, Snapshot, Store, Stored, Transaction
from shared.tasks.loop import Outcome


class PublishTrust:
    """A reconciler from the folder to the store."""

    name = "publish trust"

    def __init__(
        self,
        store: Store,
        credentials: FSMCredentials,
        *,
        shown: Callable[[], Sequence[Certificate]],
        clock: Clock,
    ) -> None:
        """`shown` returns the chain that this process shows."""
        self._store = store
        self._credentials = credentials
        self._shown = shown
        self._clock = clock

    async def reconcile(self) -> Outcome:
        if await self._take_into_use():
            return Outcome(changed=1 + await self.publish())
        return Outcome(changed=await self.publish())

    async def behind(self) -> list[Behind]:
        """Return who hasn't followed what is going on: trust in a new root, or its use."""
        async with self._store.snapshot() as snapshot:
            return await self._behind(snapshot)

    async def publish(self) -> int:
        """Make what is published what lies in the folder; return how many objects changed.

        Conflict (`keys_left_behind`) if the folder is a copy made before others went on.
        """
        drafts = self._anchors()
        async with self._store.snapshot() as snapshot:
            published = {each.key: each.spec for each in await snapshot.list(ANCHORS)}
            known = await snapshot.records(CERTIFICATES)
        wanted = {each.key: each.spec for each in drafts}
        if published == wanted and all(serial_of(chain[0]) in known for chain, _ in self._own()):
            return 0

        async def work(transaction: Transaction) -> int:
            # The folder is read again: another process may have gone on, and published that.
            drafts = self._anchors()
            self._check(await transaction.list(ANCHORS), await transaction.records(CERTIFICATES))
            changed = await _publish(transaction, drafts)
            for chain, identity in self._own():
                await _record(transaction, chain, identity)
            return changed

        return (await self._store.transact(work)).result

    def _own(self) -> list[tuple[Sequence[Certificate], str]]:
        issuing, _ = self._credentials.issuing.load_public()
        domain = trust_domain_of(issuing[-1])
        return [(issuing, f"spiffe://{domain}"), (self._shown(), str(SpiffeId.fsm(domain)))]

    def _check(self, published: Iterable[Stored], recorded: Container[str]) -> None:
        credentials = self._credentials
        chain, roots = credentials.issuing.load_public()
        coming = credentials.next_root
        here = FolderSerials(
            serial_of(chain[0]),
            frozenset(serial_of(each) for each in roots),
            serial_of(coming.load_public()[0][0]) if coming.exists() else None,
        )
        if is_left_behind(here, {each.key.name: each.spec for each in published}, recorded):
            raise Conflict(
                f"{credentials.folder} is a copy made before another FSM process exchanged a CA: "
                "copy the folder from there again, or let both work in one and the same",
                code="keys_left_behind",
            )

    def _anchors(self) -> list[Draft]:
        chain, roots = self._credentials.issuing.load_public()
        links = self._credentials.links()
        phase = self._credentials.phase()
        drafts = [anchor(chain[0], "issuing", "current")]
        for root in roots:
            if is_signed_by(chain[-1], root):
                drafts.append(anchor(root, "root", "current", links))
            else:
                coming = phase is Phase.ANNOUNCED
                drafts.append(anchor(root, "root", "next" if coming else "leaving", links))
        return drafts

    async def _take_into_use(self) -> bool:
        credentials = self._credentials
        if credentials.phase() is not Phase.ANNOUNCED or not has_key(credentials.next_root):
            return False
        if await self.behind():
            return False
        return await self.take_into_use()

    async def take_into_use(self) -> bool:
        """Issue beneath the announced root from now on, whoever has followed.

        Return False if another process has begun to.
        """
        if not take_root_into_use(self._credentials, clock=self._clock):
            return False

        async def work(transaction: Transaction) -> None:
            # A join token names the root that the joiner will believe: the old one.
            await drop_tokens(transaction, JoinKind.SDSP)

        await self._store.transact(work)
        return True

    async def _behind(self, snapshot: Snapshot) -> list[Behind]:
        reports = await snapshot.records(REPORTS)
        now, revoked = self._clock.now(), await revoked_in(snapshot)
        joined = _names(
            each.identity
            for each in await issued_in(snapshot)
            if each.not_after > now and each.serial not in revoked
        )
        chain, _ = self._credentials.issuing.load_public()
        if self._credentials.phase() is Phase.ANNOUNCED:
            coming = self._credentials.next_root.load_public()[0][0]
            return without_root(joined, reports, fingerprint_of(coming).hex())
        return beneath_another(joined, reports, serial_of(chain[0]))


def _names(identities: Iterable[str]) -> set[str]:
    """Return the sites among identities."""
    hosts = (each.removeprefix("spiffe://").partition("/") for each in identities)
    return {host.partition(".")[0] for host, _, path in hosts if path == "sdsp"}


async def _publish(transaction: Transaction, drafts: Sequence[Draft]) -> int:
    changed = 0
    keys = {each.key for each in drafts}
    for stored in await transaction.list(ANCHORS):
        if stored.key not in keys:
            await transaction.delete(stored.key)
            changed += 1
    for draft in drafts:
        stored = await transaction.put(draft)
        changed += stored.revision > transaction.base.revision
    return changed


async def _record(transaction: Transaction, chain: Sequence[Certificate], identity: str) -> None:
    if await transaction.record(CERTIFICATES, serial_of(chain[0])) is None:
        await record_certificate(transaction, chain, identity=identity)
