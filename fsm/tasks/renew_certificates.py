"""Renew the FSM's own certificate at its issuing CA, and that CA beneath the root, in time."""

from collections.abc import Callable, Sequence

from fsm.trust import FSMCredentials, issue_issuing, issue_own
from shared.clock import Clock
from shared.errors import NotFound
from shared.pki.alarm import ExpiryAlarm
from shared.pki.certificates import Certificate, serial_of, validity_of
from shared.pki.credentials import Credentials
from shared.pki.rotation import Due, due, spread_of
from shared.pki.tls import HotContext
from shared.tasks.loop import Outcome


class RenewCertificates:
    """A reconciler: whatever is at half of its life gets a successor, used from then on.

    The issuing CA's successor needs the root's key.  While that is offline this fails, and says
    so for the two years that are left.

    Other processes may share the folder: what this one shows is its own, and what one of them has
    exchanged the others follow.
    """

    name = "renew certificates"

    def __init__(
        self,
        credentials: FSMCredentials,
        *,
        server_names: Sequence[str],
        context: HotContext,
        clock: Clock,
        alarm: ExpiryAlarm | None = None,
        revoked: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`revoked` says of a serial whether it counts no longer: nobody shows such a one."""
        self._credentials = credentials
        self._server_names = server_names
        self._context = context
        self._clock = clock
        # What the context was last made of; another process may change the folder.
        self._made_of = self._issuer()
        self._revoked = revoked
        self.alarm = alarm or ExpiryAlarm(clock=clock)

    async def reconcile(self) -> Outcome:
        changed = 0
        failed: dict[str, str] = {}
        issuing = self._credentials.issuing.load()
        if self._is_due(issuing):
            try:
                issue_issuing(self._credentials, clock=self._clock, after=issuing.certificate)
                changed += 1
            except NotFound as exc:
                failed["the issuing CA"] = exc.code
        if self._must_show_another():
            self._made_of = self._issuer()
            self.renew_server()
            changed += 1
        self.alarm.check("the issuing CA", self._credentials.issuing.load().certificate)
        self.alarm.check("the root", self._credentials.issuing.load().root)
        self.alarm.check("the FSM's certificate", self.shown.certificate)
        return Outcome(changed=changed, failed=failed)

    @property
    def shown(self) -> Credentials:
        """What this process shows; in the folder lies what the last of several has made."""
        return self._context.credentials

    def renew_server(self) -> None:
        """Issue the FSM's certificate anew; the next handshakes show it."""
        own = issue_own(self._credentials, self._server_names, clock=self._clock)
        self._context.reload(own)

    def _must_show_another(self) -> bool:
        return (
            self._is_due(self.shown)
            or self._revoked(serial_of(self.shown.certificate))
            or self._issuer() != self._made_of
        )

    def _issuer(self) -> tuple[tuple[Certificate, ...], tuple[Certificate, ...]]:
        return self._credentials.issuing.load_public()

    def _is_due(self, credentials: Credentials) -> bool:
        certificate = credentials.certificate
        spread = spread_of(serial_of(certificate))
        return due(validity_of(certificate), now=self._clock.now(), spread=spread) != Due.NOTHING
