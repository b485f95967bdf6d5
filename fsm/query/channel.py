"""The way from the FSM to a site: one question over mutual TLS, its answer line by line.

A site's endpoint was written by a person, and what answers there may be anything: where it leads is
judged before anybody connects (shared.http.outward), the certificate at the other end must be that
very site's before a byte is sent, and what comes back is bounded and checked.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from shared.errors import TooLarge, Unreachable
from shared.http.outward import OutwardSettings, destination_of
from shared.http.peer import PeerClient, PeerLimits
from shared.pki.certificates import thumbprint_of
from shared.pki.identity import Expectation, Role, SpiffeId, TrustDomain
from shared.pki.peer import Revoked
from shared.pki.tls import HotContext, ServerCheck, client_context
from shared.query.wire import ASK, ON_BEHALF, PREFIX, End, Frame, parse_frame

_KIB: Final = 1024
LONGEST_LINE: Final = 4 * _KIB * _KIB
MOST_LINES: Final = 4096
"""Of one answer: parts, and a sign of life a second."""

# A site says something once a second; an answer that isn't good is one problem document.
_LIMITS: Final = PeerLimits(
    connect=10.0, total=30.0, silence=10.0, answer=64 * _KIB, line=LONGEST_LINE
)


@dataclass(slots=True)
class _Line:
    """The connections to one site at one address."""

    url: str
    tls: HotContext
    client: PeerClient


class SiteChannels:
    """Keeps a line to each site that was asked; close() when done."""

    def __init__(
        self,
        *,
        own: HotContext,
        trust_domain: TrustDomain,
        revoked: Revoked,
        outward: OutwardSettings,
    ) -> None:
        """`own` is the context of the FSM's server: its certificate is shown to sites, too."""
        self._own = own
        self._trust_domain = trust_domain
        self._revoked = revoked
        self._outward = outward
        self._lines: dict[str, _Line] = {}

    @property
    def thumbprint(self) -> str:
        """The `x5t#S256` of the certificate that sites are shown now."""
        return thumbprint_of(self._own.credentials.certificate)

    def identity_of(self, site: str) -> str:
        """Return who is at the other end."""
        return str(SpiffeId.sdsp(self._trust_domain, site))

    @asynccontextmanager
    async def asking(
        self, site: str, endpoint: str, *, question: bytes, token: str
    ) -> AsyncIterator[AsyncIterator[Frame]]:
        """Send a question and give the lines of its answer, up to its end.

        Raises Invalid (`address_not_allowed`), Unreachable, Malformed, TooLarge, and the error
        that the site answers with.  Leaving the block early tells the site that nobody listens.
        """
        destination = await destination_of(endpoint, self._outward)
        client = await self._client(site, destination.url)
        headers = {ON_BEHALF: token}
        async with client.stream("POST", f"{PREFIX}{ASK}", body=question, headers=headers) as lines:
            yield _frames(lines)

    def cut_revoked(self) -> None:
        """Cut the connections to sites that have been revoked since."""
        for each in self._lines.values():
            each.client.cut_revoked()

    async def close(self) -> None:
        for each in self._lines.values():
            await each.client.close()
        self._lines.clear()

    async def _client(self, site: str, url: str) -> PeerClient:
        line = self._lines.get(site)
        if line is not None and line.url != url:
            del self._lines[site]
            await line.client.close()
            line = None
        if line is None:
            tls = client_context(self._own.credentials, check=self._check(site))
            line = _Line(url, tls, PeerClient([url], tls=tls, limits=_LIMITS))
            self._lines[site] = line
        elif line.tls.credentials is not self._own.credentials:
            # Renewed since; the next connection shows the new one.
            line.tls.reload(self._own.credentials)
        return line.client

    def _check(self, site: str) -> ServerCheck:
        return ServerCheck(
            self._trust_domain, (Expectation(Role.SDSP, site),), revoked=self._revoked
        )


async def _frames(lines: AsyncIterator[object]) -> AsyncIterator[Frame]:
    count = 0
    async for line in lines:
        count += 1
        if count > MOST_LINES:
            raise TooLarge("the site's answer has too many lines", code="answer_too_large")
        frame = parse_frame(line)
        yield frame
        if isinstance(frame, End):
            return
    raise Unreachable("the site's answer broke off", code="answer_broke_off")
