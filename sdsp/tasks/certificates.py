"""Renew the SDSP's own certificate at the site's CA, and that CA at the FSM, in time."""

from collections.abc import Callable, Sequence
from typing import Final

from sdsp.upstream.enroll import SiteCredentials, is_due, issue_own, renew_authority
from sdsp.upstream.trust import SiteTrust
from shared.clock import Clock
from shared.errors import Conflict, HanseError
from shared.http.peer import PeerClient
from shared.pki.alarm import ExpiryAlarm
from shared.pki.authority import registered_names
from shared.pki.credentials import Credentials
from shared.pki.names import HostNames
from shared.pki.tls import HotContext
from shared.tasks.loop import Outcome

WRONG_ROOT: Final = "wrong_root"


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
        alarm: ExpiryAlarm | None = None,
        link_error: Callable[[], str | None] = lambda: None,
        is_detached: Callable[[], bool] = lambda: False,
    ) -> None:
        """`registered` returns the names that the Site object has; None if that isn't known.

        `link_error` returns why the last connection to the FSM failed, `is_detached` whether none
        is to be opened.
        `on_change` is called when there is another certificate, CA or root, and at the first pass.
        """
        self._link_error = link_error
        self._is_detached = is_detached
        self._trust = trust
        self._on_change = on_change
        self._is_first = True
        self._credentials = credentials
        self._upstream = upstream
        self._contexts = contexts
        self._registered = registered
        self._clock = clock
        self._asked: HostNames | None = None
        self.alarm = alarm or ExpiryAlarm(clock=clock)

    async def reconcile(self) -> Outcome:
        changed = 0
        failed: dict[str, str] = {}
        if self._trust:
            try:
                changed += await self._trust.follow()
                if self._upstream and self._link_error() == WRONG_ROOT:
                    # It was away while another root was taken into use.
                    changed += await self._trust.recover(self._upstream.endpoint)
            except HanseError as exc:
                failed["the trusted roots"] = exc.code
        # First, for it doesn't wait for the FSM.
        if is_due(self._credentials.server.load(), now=self._clock.now()):
            try:
                issue_own(self._credentials, clock=self._clock)
                changed += 1
            except HanseError as exc:
                failed["the SDSP's certificate"] = exc.code
        reachable = None if self._is_detached() else self._upstream
        if reachable and self._wants_authority(self._credentials.authority.load()):
            asked = self._registered()
            try:
                await renew_authority(self._credentials, reachable, clock=self._clock)
                self._asked = asked
                changed += 1
            except HanseError as exc:
                failed["the site's CA"] = exc.code
        self.alarm.check("the SDSP's certificate", self._credentials.server.load().certificate)
        self.alarm.check("the site's CA", self._credentials.authority.load().certificate)
        if changed or self._is_first:
            await self._use()
            self._is_first = False
        return Outcome(changed=changed, failed=failed)

    async def renew_server(self) -> None:
        """Issue the SDSP's certificate anew; the next handshakes show it."""
        issue_own(self._credentials, clock=self._clock)
        await self._use()

    async def renew_authority(self) -> None:
        """Have the FSM sign a new CA, and issue from it from now on.

        Unreachable if the FSM is away; Conflict (`no_upstream`) if there is none, (`detached`) if
        it isn't to be asked.
        """
        if not self._upstream:
            raise Conflict("this site has no FSM that could sign its CA", code="no_upstream")
        if self._is_detached():
            raise Conflict(
                "this site is detached from its FSM, which has to sign its CA; first run: "
                "hanse sdsp attach",
                code="detached",
            )
        await renew_authority(self._credentials, self._upstream, clock=self._clock)
        await self._use()

    async def _use(self) -> None:
        own = self._credentials.server.load()
        for context in self._contexts:
            context.reload(own)
        if self._trust:
            await self._trust.record()
        self._on_change()

    def _wants_authority(self, authority: Credentials) -> bool:
        if is_due(authority, now=self._clock.now()):
            return True
        if self._trust and self._trust.is_beneath_another_issuer():
            return True
        wanted = self._registered()
        # Asked for once: what the FSM then made of the names is its decision.
        return wanted not in (None, self._asked, registered_names(authority.certificate))
