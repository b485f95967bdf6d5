"""How the FSM's own certificates are exchanged while sites go on: `hanse pki rotate`."""

from collections.abc import Sequence

from fsm.exchange import Behind
from fsm.tasks.publish_trust import PublishTrust
from fsm.tasks.renew_certificates import RenewCertificates
from fsm.trust import (
    FSMCredentials,
    Phase,
    announce_root,
    drop_old_root,
    issue_issuing,
)
from shared.clock import Clock
from shared.enrolment.register import Issued
from shared.errors import Conflict
from shared.objects.certificates import AtOnce, Rotation, Standing, superseded
from shared.pki.authority import trust_domain_of
from shared.pki.certificates import Certificate
from shared.store.contract import Store


class FSMCertificates:
    """The FSM's own certificates, and how each is exchanged."""

    def __init__(
        self,
        store: Store,
        credentials: FSMCredentials,
        *,
        renewal: RenewCertificates,
        publication: PublishTrust,
        clock: Clock,
    ) -> None:
        self.store = store
        self.credentials = credentials
        self.publication = publication
        self.clock = clock
        self._renewal = renewal

    def roots(self) -> Sequence[Certificate]:
        return self.credentials.roots()

    def authority(self) -> Certificate:
        return self.credentials.issuing.load_public()[0][0]

    def server(self) -> Certificate:
        return self._renewal.shown.certificate

    async def renew(self) -> None:
        self._renewal.renew_server()
        await self.publication.publish()

    async def settle(self) -> None:
        """Show a certificate from the issuing CA of now, and publish what counts."""
        await self._renewal.reconcile()
        await self.publication.publish()

    async def old_authorities(self) -> list[Issued]:
        """Return the issuing CAs before the one of now that still count."""
        domain = trust_domain_of(self.authority())
        async with self.store.snapshot() as snapshot:
            return await superseded(
                snapshot,
                self.authority(),
                is_authority=lambda identity: identity == f"spiffe://{domain}",
                now=self.clock.now(),
            )

    @property
    def rotations(self) -> dict[str, Rotation]:
        return {
            "server": AtOnce(self.renew, message="The FSM shows its new certificate from now on."),
            "issuing": _Issuing(self),
            "root": _Root(self),
        }


class _Issuing:
    def __init__(self, own: FSMCertificates) -> None:
        self._own = own

    async def begin(self) -> Standing:
        await self._own.publication.publish()
        current = self._own.authority()
        if not await self._own.old_authorities():
            issue_issuing(self._own.credentials, clock=self._own.clock, after=current)
            await self._own.settle()
        return _standing("in use", await self._own.publication.behind(), "issuing")

    async def proceed(self) -> Standing:
        raise Conflict(
            "a new issuing CA is in use at once; when everybody has followed: "
            "hanse pki rotate issuing --finish",
            code="no_exchange",
        )

    async def behind(self) -> Sequence[str]:
        await self._own.publication.publish()
        if self._own.credentials.phase() is not Phase.NONE:
            raise Conflict(
                "the root is being exchanged, and the issuing CA with it: hanse pki rotate root",
                code="root_in_exchange",
            )
        return [str(each) for each in await self._own.publication.behind()]

    async def finish(self) -> tuple[Standing, Sequence[Issued]]:
        old = await self._own.old_authorities()
        if not old:
            raise Conflict(
                "no issuing CA is being exchanged; begin with: hanse pki rotate issuing",
                code="no_exchange",
            )
        return Standing("done", message="The old issuing CA counts no longer."), old


class _Root:
    def __init__(self, own: FSMCertificates) -> None:
        self._own = own

    async def begin(self) -> Standing:
        credentials = self._own.credentials
        await self._own.publication.publish()
        if credentials.phase() is Phase.NONE:
            announce_root(credentials, clock=self._own.clock)
        await self._own.settle()
        await self._own.publication.reconcile()
        return await self._now()

    async def proceed(self) -> Standing:
        await self._own.publication.publish()
        if self._own.credentials.phase() is not Phase.ANNOUNCED:
            raise Conflict(
                "no root waits to be taken into use; begin with: hanse pki rotate root",
                code="no_exchange",
            )
        await self._own.publication.take_into_use()
        await self._own.settle()
        return await self._now()

    async def behind(self) -> Sequence[str]:
        await self._own.publication.publish()
        if self._own.credentials.phase() is not Phase.IN_USE:
            raise Conflict(
                "no new root is in use yet, so there is no old one to drop: hanse pki rotate root",
                code="no_exchange",
            )
        return [str(each) for each in await self._own.publication.behind()]

    async def finish(self) -> tuple[Standing, Sequence[Issued]]:
        old = await self._own.old_authorities()
        drop_old_root(self._own.credentials)
        await self._own.settle()
        return Standing("done", message="The old root is trusted by nobody any more."), old

    async def _now(self) -> Standing:
        phase = self._own.credentials.phase()
        return _standing(phase.value, await self._own.publication.behind(), "root")


def _standing(phase: str, behind: Sequence[Behind], what: str) -> Standing:
    names = [str(each) for each in behind]
    if names:
        message = f"{len(names)} sites have not followed yet; ask again in a minute."
    elif phase == Phase.ANNOUNCED:
        message = "Everybody trusts the new root; it is taken into use."
    else:
        message = f"Everybody has followed. Drop the old one: hanse pki rotate {what} --finish"
    return Standing(phase, names, message)
