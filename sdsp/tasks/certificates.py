"""Renew the SDSP's own certificate at the site's CA, and that CA at the FSM, in time."""

from collections.abc import Callable, Sequence

from sdsp.upstream.enroll import SiteCredentials, is_due, issue_own, renew_authority
from sdsp.upstream.trust import SiteTrust
from shared.clock import Clock
from shared.errors import HanseError
from shared.http.peer import PeerClient
from shared.pki.alarm import ExpiryAlarm
from shared.pki.authority import registered_names
from shared.pki.credentials import Credentials
from shared.pki.names import HostNames
from shared.pki.tls import HotContext
from shared.tasks.loop import Outcome


class RenewCertificates:
    """A reconciler: whatever is at half of its life gets a successor, used from then on.

    So does the CA when the FSM registers other names for the site: they stand in its certificate.
    """

    name = "renew certificates"

    def __init__(
        self,
        credentials: SiteCredentials,
        *,
        upstream: PeerClient | None,
        contexts: Sequence[HotContext],
        registered: Callable[[], HostNames | None],
        clock: Clock,
        trust: SiteTrust | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`registered` returns the names that the Site object has; None if that isn't known.

        `on_change` is called when there is another certificate, CA or root, and at the first pass.
        """
        self._trust = trust
        self._on_change = on_change
        self._is_first = True
        self._credentials = credentials
        self._upstream = upstream
        self._contexts = contexts
        self._registered = registered
        self._clock = clock
        self._asked: HostNames | None = None
        self._alarm = ExpiryAlarm(clock=clock)

    async def reconcile(self) -> Outcome:
        changed = 0
        failed: dict[str, str] = {}
        if self._trust:
            try:
                changed += await self._trust.follow()
            except HanseError as exc:
                failed["the trusted roots"] = exc.code
        # First, for it doesn't wait for the FSM.
        if is_due(self._credentials.server.load(), now=self._clock.now()):
            try:
                issue_own(self._credentials, clock=self._clock)
                changed += 1
            except HanseError as exc:
                failed["the SDSP's certificate"] = exc.code
        if self._upstream and self._wants_authority(self._credentials.authority.load()):
            asked = self._registered()
            try:
                await renew_authority(self._credentials, self._upstream, clock=self._clock)
                self._asked = asked
                changed += 1
            except HanseError as exc:
                failed["the site's CA"] = exc.code
        self._alarm.check("the SDSP's certificate", self._credentials.server.load().certificate)
        self._alarm.check("the site's CA", self._credentials.authority.load().certificate)
        if changed:
            own = self._credentials.server.load()
            for context in self._contexts:
                context.reload(own)
        if self._trust and (changed or self._is_first):
            await self._trust.record()
        if changed or self._is_first:
            self._is_first = False
            self._on_change()
        return Outcome(changed=changed, failed=failed)

    def _wants_authority(self, authority: Credentials) -> bool:
        if is_due(authority, now=self._clock.now()):
            return True
        if self._trust and self._trust.is_beneath_another_issuer():
            return True
        wanted = self._registered()
        # Asked for once: what the FSM then made of the names is its decision.
        return wanted not in (None, self._asked, registered_names(authority.certificate))
