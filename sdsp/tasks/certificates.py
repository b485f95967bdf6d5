"""Renew the site's CA at the FSM, and the SDSP's own certificate at the site's CA, in time."""

from collections.abc import Sequence

from sdsp.upstream.enroll import SiteCredentials, issue_own, renew_authority
from shared.clock import Clock
from shared.errors import HanseError
from shared.http.peer import PeerClient
from shared.pki.certificates import serial_of, validity_of
from shared.pki.credentials import Credentials
from shared.pki.rotation import Due, due, spread_of
from shared.pki.tls import HotContext
from shared.tasks.loop import Outcome


class RenewCertificates:
    """A reconciler: whatever is at half of its life gets a successor, used from then on."""

    name = "renew certificates"

    def __init__(
        self,
        credentials: SiteCredentials,
        *,
        upstream: PeerClient | None,
        contexts: Sequence[HotContext],
        clock: Clock,
    ) -> None:
        self._credentials = credentials
        self._upstream = upstream
        self._contexts = contexts
        self._clock = clock

    async def reconcile(self) -> Outcome:
        changed = 0
        failed: dict[str, str] = {}
        if self._upstream and self._is_due(self._credentials.authority.load()):
            try:
                await renew_authority(self._credentials, self._upstream, clock=self._clock)
                changed += 1
            except HanseError as exc:
                # The site's own certificate doesn't wait for the FSM.
                failed["the site's CA"] = exc.code
        if self._is_due(self._credentials.server.load()):
            issue_own(self._credentials, clock=self._clock)
            changed += 1
        if changed:
            own = self._credentials.server.load()
            for context in self._contexts:
                context.reload(own)
        return Outcome(changed=changed, failed=failed)

    def _is_due(self, credentials: Credentials) -> bool:
        certificate = credentials.certificate
        return (
            due(
                validity_of(certificate),
                now=self._clock.now(),
                spread=spread_of(serial_of(certificate)),
            )
            is not Due.NOTHING
        )
