"""Whom this node believes: what its site says of roots and revocations, kept across restarts.

A node that was away hears of it first thing, before any configuration; one that restarts knows it
before it has talked to anyone.
"""

import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import orjson

from dsn.upstream.frames import Trust
from shared.clock import Clock
from shared.enrolment.joining import fetch_vouched_roots
from shared.errors import HanseError, Invalid
from shared.failpoints import failpoint
from shared.pki.certificates import (
    Certificate,
    certificates_from_pem,
    fingerprint_of,
    is_signed_by,
    serial_of,
)
from shared.pki.credentials import CredentialsDirectory
from shared.pki.links import accept_roots
from shared.pki.tls import HotContext

log = logging.getLogger(__name__)


class KnownRevocations:
    """The serials that this node refuses; in a file, and in memory for handshakes."""

    def __init__(self, path: Path) -> None:
        """Read what was known; Invalid (`revocations_unreadable`) if the file was damaged."""
        self._path = path
        self._known: dict[str, datetime] = {}
        try:
            found = orjson.loads(path.read_bytes())
            self._known = {str(k): datetime.fromisoformat(v) for k, v in found.items()}
        except FileNotFoundError:
            return
        except (ValueError, TypeError, AttributeError) as exc:
            raise Invalid(
                f"{path} is damaged; delete it, and the site will tell again what is revoked",
                code="revocations_unreadable",
            ) from exc

    def __call__(self, serial: str) -> bool:
        return serial in self._known

    def become(self, revoked: Mapping[str, datetime], *, now: datetime) -> bool:
        """Take what the site says, and keep what it no longer says until that has expired.

        Return whether anything is new.
        """
        kept = {serial: until for serial, until in self._known.items() if until > now}
        wanted = kept | dict(revoked)
        if wanted == self._known:
            return False
        self._known = wanted
        self._write()
        return True

    def _write(self) -> None:
        draft = self._path.with_name(f".{self._path.name}.new")
        with draft.open("wb") as file:
            file.write(orjson.dumps({k: v.isoformat() for k, v in sorted(self._known.items())}))
            file.flush()
            os.fsync(file.fileno())
        failpoint("dsn.revocations.synced")
        draft.replace(self._path)


class NodeTrust:
    """Takes over what the site says of trust."""

    def __init__(
        self,
        *,
        revocations: KnownRevocations,
        directory: CredentialsDirectory,
        context: HotContext,
        clock: Clock,
    ) -> None:
        self.on_revoked: Callable[[], None] = lambda: None
        """Called when something was revoked: open connections are to be looked at."""
        self.on_authority: Callable[[str], None] = lambda _: None
        """Called with the serial of the site's CA of now, if ours is from another."""
        self._revocations = revocations
        self._directory = directory
        self._context = context
        self._clock = clock

    @property
    def roots(self) -> list[str]:
        """The SHA-256 of each root that this node trusts, as its reports have it."""
        return [fingerprint_of(each).hex() for each in self._directory.load_public()[1]]

    def take(self, trust: Trust) -> None:
        """Believe what the site says; a root that nobody vouches for is logged, and refused."""
        if self._revocations.become(trust.revoked, now=self._clock.now()):
            self.on_revoked()
        try:
            self._take_roots(trust)
        except HanseError as exc:
            log.error(  # noqa: TRY400 - foreseen, and the code says it
                "roots not taken over", extra={"code": exc.code, "reason": exc.message}
            )
            return
        if serial_of(self._directory.load_public()[0][1]) != trust.authority:
            self.on_authority(trust.authority)

    async def recover(self, server: str) -> bool:
        """Take over the roots that `server` offers, if ours vouch for them; return whether.

        For a node that was away while another root was taken into use.  Raises as
        fetch_vouched_roots().
        """
        own = self._directory.load()
        offered = await fetch_vouched_roots(server, own.roots)
        new = [each for each in offered if each not in own.roots]
        if new:
            trusting = own.trusting([*own.roots, *new])
            self._directory.write(trusting)
            self._context.reload(trusting)
        return bool(new)

    def _take_roots(self, trust: Trust) -> None:
        own = self._directory.load()
        offered, links = certificates_from_pem(trust.roots), _links(trust.links)
        roots = accept_roots(own.roots, offered, links)
        if not any(is_signed_by(own.chain[-1], each) for each in roots):
            # Our own certificate is still beneath it; the next one won't be.
            roots = (*roots, *(each for each in own.roots if is_signed_by(own.chain[-1], each)))
        if roots == own.roots:
            return
        trusting = own.trusting(roots)
        self._directory.write(trusting)
        self._context.reload(trusting)
        log.info("trusted roots changed", extra={"roots": len(roots)})


def _links(pem: str) -> tuple[Certificate, ...]:
    return certificates_from_pem(pem) if pem else ()
