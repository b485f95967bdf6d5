"""Which roots the site trusts, as the FSM says and the old root vouches for.

The FSM's TrustAnchors come with the feed.  A new root is taken over, for the site and its nodes,
only if a root that is trusted already has signed its key (shared.pki.links); an old one is let go
when the FSM lets it go, unless what the site itself shows is still beneath it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sdsp.upstream.enroll import SiteCredentials
from shared.clock import Clock
from shared.enrolment.anchors import ANCHORS, Anchors
from shared.enrolment.joining import fetch_vouched_roots
from shared.enrolment.register import CERTIFICATES, issued_in, record_certificate
from shared.enrolment.revocations import revoked_in
from shared.pki.authority import Authority
from shared.pki.certificates import Certificate, fingerprint_of, is_signed_by, serial_of
from shared.pki.credentials import Credentials, CredentialsDirectory
from shared.pki.identity import SpiffeId, site_host
from shared.pki.links import accept_roots
from shared.store.contract import Store, Transaction

MOST_NAMED: Final = 100
"""What the FSM takes."""

RootsOf = Callable[[str], Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Known:
    """What the FSM last said: the serial of its issuing CA, and links between roots."""

    issuing: str | None = None
    links: tuple[Certificate, ...] = ()


class SiteTrust:
    def __init__(self, store: Store, credentials: SiteCredentials, *, clock: Clock) -> None:
        self._store = store
        self._credentials = credentials
        self._clock = clock
        self.known = Known()

    async def follow(self) -> bool:
        """Take over what the FSM says; return whether the site's own trust has changed.

        Unauthenticated (`unlinked_root`): then nothing has.
        """
        async with self._store.snapshot() as snapshot:
            anchors = Anchors.of(await snapshot.list(ANCHORS))
        self.known = Known(anchors.issuing_serial, anchors.links)
        changed = False
        if anchors.roots:
            for directory in (self._credentials.authority, self._credentials.server):
                changed |= _trust(directory, anchors)
        return changed

    async def recover(self, server: str) -> bool:
        """Take over the roots that `server` offers, if ours vouch for them; return whether.

        Ours stay trusted: what we show is beneath one of them.  Raises as fetch_vouched_roots().
        """
        own = self._credentials.server.load()
        offered = await fetch_vouched_roots(server, own.roots)
        changed = False
        for directory in (self._credentials.authority, self._credentials.server):
            mine = directory.load()
            new = [each for each in offered if each not in mine.roots]
            if new:
                directory.write(mine.trusting([*mine.roots, *new]))
                changed = True
        return changed

    def is_beneath_another_issuer(self) -> bool:
        """Return whether the site's CA is from another issuing CA than the FSM's of now."""
        issuing = self.known.issuing
        return issuing not in (None, serial_of(self._credentials.authority.load_public()[0][1]))

    async def nodes_behind(self) -> list[str]:
        """Return the nodes without a certificate from the site's CA of now.

        Times don't tell which certificate came last: those of one second are the same.
        """
        current = serial_of(self._credentials.authority.load_public()[0][0])
        issuers = await self._issuers()
        return sorted(node for node, found in issuers.items() if current not in found)

    async def nodes_untrusting(self, roots_of: RootsOf) -> list[str]:
        """Return the nodes that don't trust, or don't say that they trust, every root we do."""
        wanted = set(self.roots)
        return sorted(
            node for node in await self._issuers() if not wanted <= set(roots_of(node) or ())
        )

    @property
    def roots(self) -> list[str]:
        """The SHA-256 of each root that the site trusts."""
        return [fingerprint_of(each).hex() for each in self._credentials.server.load_public()[1]]

    async def report(self, roots_of: RootsOf) -> dict[str, Any]:
        """Return what the FSM is told; `roots_of` says which roots a node reported."""
        chain, _ = self._credentials.authority.load_public()
        async with self._store.snapshot() as snapshot:
            revoked = await revoked_in(snapshot)
        now = self._clock.now()
        own = [
            serial
            for serial, each in revoked.items()
            if each.identity.endswith("/sdsp") and each.not_after > now
        ]
        return {
            "revoked": sorted(own)[:MOST_NAMED],
            "roots": self.roots,
            "issuing": serial_of(chain[1]),
            "untrusting": (await self.nodes_untrusting(roots_of))[:MOST_NAMED],
            "behind": (await self.nodes_behind())[:MOST_NAMED],
        }

    async def _issuers(self) -> dict[str, set[str | None]]:
        """Return the CAs of each node's certificates that still count."""
        now = self._clock.now()
        async with self._store.snapshot() as snapshot:
            revoked = await revoked_in(snapshot)
            issued = await issued_in(snapshot)
        found: dict[str, set[str | None]] = {}
        for each in issued:
            _, is_node, node = each.identity.partition("/node/")
            if is_node and each.not_after > now and each.serial not in revoked:
                found.setdefault(node, set()).add(each.issuer)
        return found

    async def record(self) -> None:
        """Put the site's CA and the SDSP's certificate on record, so that they can be revoked."""
        authority = self._credentials.authority.load_public()[0]
        own = self._credentials.server.load_public()[0]
        read = Authority(self._credentials.authority.load(), clock=self._clock)
        assert read.site is not None, "an SDSP has a site's CA"
        wanted = (
            (authority, f"spiffe://{site_host(read.site, read.trust_domain)}"),
            (own, str(SpiffeId.sdsp(read.trust_domain, read.site))),
        )

        async def work(transaction: Transaction) -> None:
            for chain, identity in wanted:
                if await transaction.record(CERTIFICATES, serial_of(chain[0])) is None:
                    await record_certificate(transaction, chain, identity=identity)

        async with self._store.snapshot() as snapshot:
            known = await snapshot.records(CERTIFICATES)
        if any(serial_of(chain[0]) not in known for chain, _ in wanted):
            await self._store.transact(work)


def _trust(directory: CredentialsDirectory, anchors: Anchors) -> bool:
    own = directory.load()
    roots = accept_roots(own.roots, anchors.roots, anchors.links)
    if not any(is_signed_by(own.chain[-1], each) for each in roots):
        roots = (*roots, *_above(own))
    if set(roots) == set(own.roots):
        return False
    directory.write(own.trusting(roots))
    return True


def _above(own: Credentials) -> tuple[Certificate, ...]:
    return tuple(each for each in own.roots if is_signed_by(own.chain[-1], each))
