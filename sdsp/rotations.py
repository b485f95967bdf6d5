"""How a site's own certificates are exchanged while its nodes go on: `hanse pki rotate`."""

from collections.abc import Sequence

from sdsp.tasks.certificates import RenewCertificates
from sdsp.upstream.enroll import SiteCredentials
from sdsp.upstream.trust import SiteTrust
from shared.clock import Clock
from shared.enrolment.register import Issued
from shared.errors import Conflict
from shared.objects.certificates import AtOnce, Rotation, Standing, superseded
from shared.pki.certificates import Certificate
from shared.store.contract import Store


class SiteCertificates:
    """The site's own certificates, and how each is exchanged."""

    def __init__(
        self,
        store: Store,
        credentials: SiteCredentials,
        *,
        renewal: RenewCertificates,
        trust: SiteTrust,
        clock: Clock,
    ) -> None:
        self.renewal = renewal
        self.trust = trust
        self._store = store
        self._credentials = credentials
        self._clock = clock

    def roots(self) -> Sequence[Certificate]:
        return self._credentials.server.load_public()[1]

    def authority(self) -> Certificate:
        return self._credentials.authority.load_public()[0][0]

    def server(self) -> Certificate:
        return self._credentials.server.load_public()[0][0]

    async def renew(self) -> None:
        await self.renewal.renew_server()

    async def old_authorities(self) -> list[Issued]:
        """Return the site's CAs before the one of now that still count here."""
        async with self._store.snapshot() as snapshot:
            return await superseded(
                snapshot,
                self.authority(),
                is_authority=lambda identity: "/" not in identity.removeprefix("spiffe://"),
                now=self._clock.now(),
            )

    @property
    def rotations(self) -> dict[str, Rotation]:
        return {
            "server": AtOnce(self.renew, message="The SDSP shows its new certificate from now on."),
            "authority": _Authority(self),
        }


class _Authority:
    """The site's CA: the FSM signs a new key, nodes renew, then the old one is dropped."""

    def __init__(self, own: SiteCertificates) -> None:
        self._own = own

    async def begin(self) -> Standing:
        if not await self._own.old_authorities():
            await self._own.renewal.renew_authority()
        behind = await self._own.trust.nodes_behind()
        if behind:
            return Standing(
                "in use", behind, f"{len(behind)} nodes have not followed yet; ask again soon."
            )
        return Standing(
            "in use",
            message="Every node has followed. Drop the old one: "
            "hanse pki rotate authority --finish",
        )

    async def proceed(self) -> Standing:
        raise Conflict(
            "a new CA is in use at once; when every node has followed: "
            "hanse pki rotate authority --finish",
            code="no_exchange",
        )

    async def behind(self) -> Sequence[str]:
        return await self._own.trust.nodes_behind()

    async def finish(self) -> tuple[Standing, Sequence[Issued]]:
        old = await self._own.old_authorities()
        if not old:
            raise Conflict(
                "the site's CA is not being exchanged; begin with: hanse pki rotate authority",
                code="no_exchange",
            )
        return Standing("done", message="The old CA counts no longer at this site."), old
