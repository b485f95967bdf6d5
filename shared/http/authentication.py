"""Who is calling: the one place where a request becomes a Caller.

A bearer token names a person or a service account, a client certificate a component.  With both,
the token says who acts and the certificate over whose connection.
"""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from aiohttp import web

from shared.auth.identity import Caller, component_caller
from shared.clock import Clock
from shared.errors import Unauthenticated
from shared.pki.identity import Expectation, TrustDomain
from shared.pki.peer import PeerIdentity, Revoked, has_certificate, peer_identity

BearerVerifier = Callable[[str], Awaitable[Caller]]
"""Returns the caller that a token stands for; raises Unauthenticated."""

Recheck = Callable[[Caller], None]
"""Raises if a caller may no longer go on as what he was taken for; asked very often."""

# Of one connection; a browser has one, a gateway several.
_TOKENS: Final = 16

# RFC 9110 allows any length; a token of ours has about 600 bytes.
_LONGEST: Final = 8 * 1024


def _never(_: str) -> bool:
    return False


async def _nobody(_: str) -> Caller:
    raise _no_token()


def _no_token() -> Unauthenticated:
    return Unauthenticated("the Authorization header must be: Bearer TOKEN")


def _token_in(header: str) -> str:
    """Return the token of an Authorization header; Unauthenticated if there is none."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _no_token()
    if len(token) > _LONGEST:
        raise Unauthenticated("the token is too long to be one of ours", code="invalid_token")
    return token.strip()


def _always(_: Caller) -> None:
    """Have nothing against anybody."""


class _Seen(NamedTuple):
    """A token as a header had it, whose it is, and he as he calls over this connection."""

    token: str
    bearer: Caller
    caller: Caller


class _Connected:
    """Who is at the other end of a connection, and whose tokens came over it lately."""

    def __init__(self, peer: PeerIdentity | None, address: str | None) -> None:
        self.component = component_caller(peer, address=address) if peer else None
        self._peer = peer
        self._address = address
        self._seen: dict[str, _Seen] = {}

    async def caller(self, header: str, verify: BearerVerifier) -> Caller:
        """Return whom a header's token stands for now, as he calls over this connection."""
        seen = self._seen.get(header)
        token = _token_in(header) if seen is None else seen.token
        bearer = await verify(token)
        if seen is not None and seen.bearer is bearer:
            return seen.caller
        if len(self._seen) >= _TOKENS:
            self._seen.clear()
        made = replace(bearer, address=self._address, peer=self._peer)
        self._seen[header] = _Seen(token, bearer, made)
        return made


class Authenticator:
    def __init__(
        self,
        *,
        clock: Clock,
        bearer: BearerVerifier | None = None,
        still: Recheck = _always,
        trust_domain: TrustDomain | None = None,
        revoked: Revoked | None = None,
        expected: Sequence[Expectation] | None = None,
    ) -> None:
        """Without `trust_domain` client certificates mean nothing, without `bearer` tokens.

        `still` is asked for as long as a caller's stream is open.
        `expected` are the components that may come here at all; None: any of the trust domain.
        """
        self._clock = clock
        self._bearer = bearer or _nobody
        self._still = still
        self._trust_domain = trust_domain
        self._revoked = revoked or _never
        self._expected = expected
        # A chain is judged once per connection and rechecked with each request.
        self._judged: WeakKeyDictionary[ssl.SSLObject, _Connected] = WeakKeyDictionary()

    async def caller(self, request: web.Request) -> Caller | None:
        """Return who calls; None if the request doesn't say.  Raises Unauthenticated, Forbidden."""
        connected = self._connected(request)
        header = request.headers.get("Authorization")
        caller = connected.component
        if header is not None:
            caller = await connected.caller(header, self._bearer)
        if caller:
            self.recheck(caller)
        return caller

    def recheck(self, caller: Caller) -> None:
        """Raise Unauthenticated if the caller may not go on with what it has begun.

        Codes: `token_expired`, `token_revoked`, `certificate_expired`, `certificate_revoked`.
        Raises Gone (`view_changed`) if what he may see is another by now.
        """
        now = self._clock.now()
        if caller.peer:
            caller.peer.recheck(revoked=self._revoked, now=now)
        if caller.expires_at and now >= caller.expires_at:
            raise Unauthenticated("the token has expired; log in again", code="token_expired")
        self._still(caller)

    def _connected(self, request: web.Request) -> "_Connected":
        connection = request.get_extra_info("ssl_object")
        if connection is None:
            return _Connected(None, address_of(request))
        known = self._judged.get(connection)
        if known is None:
            known = _Connected(self._peer(connection), address_of(request))
            self._judged[connection] = known
        return known

    def _peer(self, connection: ssl.SSLObject) -> PeerIdentity | None:
        if self._trust_domain is None or not has_certificate(connection):
            return None
        return peer_identity(
            connection,
            trust_domain=self._trust_domain,
            revoked=self._revoked,
            expected=self._expected,
        )


def address_of(request: web.Request) -> str | None:
    """Return the address at the other end of the connection, whatever headers say."""
    peername = request.get_extra_info("peername")
    return str(peername[0]) if isinstance(peername, tuple) else None
