"""Reconciler: the node's certificate is renewed before half of its life is over."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from dsn.settings import Identity
from dsn.upstream.enroll import read_credentials
from shared.clock import Clock
from shared.errors import HanseError, Malformed, Unauthenticated
from shared.pki.alarm import ExpiryAlarm
from shared.pki.certificates import fingerprint_of, serial_of, validity_of
from shared.pki.credentials import CredentialsDirectory
from shared.pki.csr import create_csr
from shared.pki.keys import generate_key
from shared.pki.rotation import Due, due, spread_of
from shared.pki.tls import HotContext
from shared.tasks.loop import Outcome

log = logging.getLogger(__name__)

RENEW: Final = "/node/v1/renew"


class Answer(Protocol):
    def json(self) -> Any: ...


class Posts(Protocol):
    """The site, as shared.http.peer.PeerClient."""

    async def post(self, path: str, body: Any) -> Answer: ...


class RenewCertificate:
    name = "renew certificate"

    def __init__(
        self,
        *,
        transport: Posts,
        directory: CredentialsDirectory,
        context: HotContext,
        identity: Identity,
        clock: Clock,
        recover: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """`recover` looks for roots that ours vouch for, if the site can't be verified."""
        self._recover = recover
        self._transport = transport
        self._directory = directory
        self._context = context
        self._identity = identity
        self._clock = clock
        self._alarm = ExpiryAlarm(clock=clock)
        self._authority: str | None = None

    def expect(self, authority: str) -> None:
        """Say from which CA of the site (its serial) the certificate should be by now."""
        self._authority = authority

    async def reconcile(self) -> Outcome:
        """Renew if it is due; the new key and certificate count from the next connection on.

        Unauthenticated (`certificate_expired`) if it is too late: the site doesn't know us any
        more, and the node must join anew.  It goes on enforcing.
        """
        if self._recover and await self._recover():
            log.info("roots taken over that the old one vouches for")
        certificate = self._directory.load().certificate
        state = due(
            validity_of(certificate),
            now=self._clock.now(),
            spread=spread_of(serial_of(certificate)),
        )
        if state is Due.NOTHING and not self._is_from_another_authority():
            return Outcome()
        if state is Due.EXPIRED:
            raise Unauthenticated(
                "this node's certificate has expired; ask the site for a join token with "
                "--replace and join anew; what was enforced last still is",
                code="certificate_expired",
            )
        try:
            await self._renew()
        except HanseError:
            self._alarm.check("this node's certificate", certificate)
            raise
        return Outcome(changed=1)

    def _is_from_another_authority(self) -> bool:
        return self._authority not in (None, serial_of(self._directory.load_public()[0][1]))

    async def _renew(self) -> None:
        key, expected = generate_key(), self._authority
        answer = await self._transport.post(RENEW, {"csr": create_csr(key)})
        credentials, identity = read_credentials(key, answer.json(), self._identity.servers)
        if identity.spiffe_id != self._identity.spiffe_id:
            raise Malformed("the site renewed another node's certificate")
        # A root that we don't know yet comes with what vouches for it, not with a certificate.
        known = {fingerprint_of(each) for each in self._directory.load_public()[1]}
        roots = [each for each in credentials.roots if fingerprint_of(each) in known]
        credentials = credentials.trusting(roots)
        self._directory.write(credentials)
        self._context.reload(credentials)
        # Asked for once: a site that goes on issuing from another CA has said so itself.  What it
        # said while it answered counts for the next pass.
        if self._authority == expected:
            self._authority = None
        log.info("certificate renewed", extra={"serial": serial_of(credentials.certificate)})
