"""Who is calling: the one place where a request becomes a Caller.

A bearer token names a person or a service account, a client certificate a component.  With both,
the token says who acts and the certificate over whose connection.
"""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from aiohttp import web

from shared.auth.identity import Caller, Peer, component_caller
from shared.clock import Clock
from shared.errors import Unauthenticated

PeerVerifier = Callable[[ssl.SSLObject], Peer | None]
"""Returns the component at the other end of a connection; None if it showed no certificate.

Raises Unauthenticated or Forbidden for a certificate that may not be used.
"""

BearerVerifier = Callable[[str], Awaitable[Caller]]
"""Returns the caller that a token stands for; raises Unauthenticated."""

# RFC 9110 allows any length; a token of ours has about 600 bytes.
_LONGEST: Final = 8 * 1024


class Authenticator:
    def __init__(
        self,
        *,
        clock: Clock,
        bearer: BearerVerifier | None = None,
        peers: PeerVerifier | None = None,
        is_revoked: Callable[[Caller], bool] = lambda _: False,
    ) -> None:
        self._clock = clock
        self._bearer = bearer
        self._peers = peers
        self._is_revoked = is_revoked

    async def caller(self, request: web.Request) -> Caller | None:
        """Return who calls; None if the request doesn't say.  Raises Unauthenticated, Forbidden."""
        peer = self._peer(request)
        address = address_of(request)
        header = request.headers.get("Authorization")
        if header is None:
            caller = component_caller(peer, address=address) if peer else None
        else:
            caller = replace(await self._from(header), address=address, peer=peer)
        if caller and not self.is_current(caller):
            raise Unauthenticated("this identity has been revoked", code="revoked")
        return caller

    def is_current(self, caller: Caller) -> bool:
        """Return whether a caller may go on with what it has begun."""
        if caller.expires_at and self._clock.now() >= caller.expires_at:
            return False
        return not self._is_revoked(caller)

    def _peer(self, request: web.Request) -> Peer | None:
        connection = request.get_extra_info("ssl_object")
        if self._peers is None or connection is None:
            return None
        return self._peers(connection)

    async def _from(self, header: str) -> Caller:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip() or self._bearer is None:
            raise Unauthenticated("the Authorization header must be: Bearer TOKEN")
        if len(token) > _LONGEST:
            raise Unauthenticated("the token is too long to be one of ours", code="invalid_token")
        return await self._bearer(token.strip())


def address_of(request: web.Request) -> str | None:
    """Return the address at the other end of the connection, whatever headers say."""
    peername = request.get_extra_info("peername")
    return str(peername[0]) if isinstance(peername, tuple) else None
