"""Sites join with a token and renew their CA's certificate; revoking it puts a site out.

The site's own CA is made at the site, from a key that never leaves it.  The FSM signs it once a
year, bound to the names that are registered in the Site object; everything below, the SDSP's own
certificate and its nodes', the site issues by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fsm.feed.select import site_key
from fsm.sites.names import registered_for
from shared.auth.limiter import Limiter, origin_of
from shared.clock import Clock
from shared.enrolment.register import (
    JOIN_ATTEMPTS,
    GivenToken,
    Issued,
    add_token,
    live_certificates,
    record_certificate,
    revoke_live,
    spend_token,
)
from shared.enrolment.revocations import Revocations
from shared.errors import HanseError, NotFound
from shared.failpoints import pause
from shared.ids import FEDERATION, parse_dns_label
from shared.objects.call import Call
from shared.objects.trail import Trail
from shared.pki.authority import Authority
from shared.pki.certificates import Certificate, certificates_to_pem
from shared.pki.identity import SpiffeId
from shared.pki.jointoken import JoinKind, JoinToken
from shared.store.contract import Snapshot, Store, Stored, Transaction


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A site's CA certificate with the chain above it, and the roots to trust, as PEM."""

    site: str
    chain: str
    roots: str


class SiteEnrolment:
    """Gives out tokens, takes them back for certificates, renews and revokes those."""

    def __init__(
        self,
        store: Store,
        *,
        authority: Callable[[], Authority],
        revocations: Revocations,
        trail: Trail,
        limiter: Limiter,
        clock: Clock,
    ) -> None:
        """`authority` returns the issuing CA of now."""
        self._store = store
        self._authority = authority
        self._revocations = revocations
        self._trail = trail
        self._limiter = limiter
        self._clock = clock

    @property
    def authority(self) -> Authority:
        return self._authority()

    async def give_token(self, call: Call, site: str, *, replace: bool) -> GivenToken:
        """Return a token with which `site` may join within the hour.

        NotFound (`unknown_site`) without such a Site; Conflict (`certificate_exists`) if it has
        joined already and `replace` isn't set; Invalid for no site's name.
        """
        parse_dns_label(site)
        # The one that the server's own chain ends in: the joiner believes no other.
        root = self.authority.credentials.root
        token = JoinToken.create(JoinKind.SDSP, site=site, name=site, root=root)
        audit = self._trail.record(call, "jointoken.create", key=site_key(site))

        async def work(transaction: Transaction) -> GivenToken:
            await _site(transaction, site)
            given = await add_token(
                transaction,
                token,
                identity=self._identity(site),
                scope=FEDERATION,
                now=self._clock.now(),
                replace=replace,
            )
            await transaction.audit(audit)
            return given

        return (await self._store.transact(work)).result

    async def join(self, call: Call, text: str, csr: str) -> Enrolled:
        """Trade a token and a signing request (PEM) for a site's CA certificate.

        The token is spent in the transaction that records the certificate.  Raises as
        spend_token() and Authority.issue_site_intermediate() do, and TooManyRequests; refusals
        are audited too.
        """
        self._limiter.check((JOIN_ATTEMPTS, f"join:{origin_of(call.caller.address)}"))
        try:
            enrolled = await self._join(call, text, csr)
        except HanseError as exc:
            await self._trail.refused(call, "site.join", exc)
            raise
        await self.read_revocations()
        await pause("fsm.join.before_answer")
        return enrolled

    async def renew(self, call: Call, site: str, csr: str) -> Enrolled:
        """Return a new CA certificate for a site that has proved itself with its old one.

        The old one stays good, so that what it issued does too.
        """
        audit = self._trail.record(call, "site.renew", key=site_key(site))

        async def work(transaction: Transaction) -> Enrolled:
            stored = await _site(transaction, site)
            enrolled = await self._issue(transaction, stored, csr)
            await transaction.audit(audit)
            return enrolled

        return (await self._store.transact(work)).result

    async def revoke(self, call: Call, site: str, *, reason: str) -> list[Issued]:
        """Let all of a site's certificates count no longer; return them.  NotFound if none do."""
        audit = self._trail.record(call, "site.revoke", key=site_key(site), reason=reason)

        async def work(transaction: Transaction) -> list[Issued]:
            now, identity = self._clock.now(), self._identity(site)
            revoked = await revoke_live(
                transaction, identity, scope=FEDERATION, now=now, reason=reason
            )
            if not revoked:
                raise NotFound(f"site {site} has no certificate that is still good")
            await transaction.audit(audit)
            return revoked

        revoked = (await self._store.transact(work)).result
        await self.read_revocations()
        return revoked

    async def live(self, snapshot: Snapshot, site: str) -> list[Issued]:
        """Return a site's certificates that are neither expired nor revoked."""
        return await live_certificates(snapshot, self._identity(site), now=self._clock.now())

    async def read_revocations(self) -> None:
        async with self._store.snapshot() as snapshot:
            await self._revocations.read(snapshot)

    async def _join(self, call: Call, text: str, csr: str) -> Enrolled:
        audit = self._trail.record(call, "site.join")

        async def work(transaction: Transaction) -> Enrolled:
            now = self._clock.now()
            token, replaces = await spend_token(
                transaction, text, kind=JoinKind.SDSP, site=None, scope=FEDERATION, now=now
            )
            stored = await _site(transaction, token.site)
            if replaces:
                identity = self._identity(token.site)
                await revoke_live(
                    transaction, identity, scope=FEDERATION, now=now, reason="joined anew"
                )
            enrolled = await self._issue(transaction, stored, csr)
            await transaction.audit(audit)
            return enrolled

        return (await self._store.transact(work)).result

    async def _issue(self, transaction: Transaction, stored: Stored, csr: str) -> Enrolled:
        site = stored.key.name
        names = registered_for(stored.spec)
        addresses = [str(each) for each in names.addresses]
        chain = self.authority.issue_site_intermediate(
            csr, site, dns_names=names.dns, ip_addresses=addresses
        )
        await record_certificate(
            transaction, chain, identity=self._identity(site), owner=stored.uid
        )
        return self._enrolled(site, chain)

    def _enrolled(self, site: str, chain: tuple[Certificate, ...]) -> Enrolled:
        roots = self.authority.credentials.roots
        return Enrolled(site, certificates_to_pem(chain), certificates_to_pem(roots))

    def _identity(self, site: str) -> str:
        return str(SpiffeId.sdsp(self.authority.trust_domain, site))


async def _site(transaction: Transaction, site: str) -> Stored:
    stored = await transaction.get(site_key(site))
    if stored is None:
        raise NotFound(f"the FSM has no Site {site}; create it first", code="unknown_site")
    return stored
