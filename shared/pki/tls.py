"""TLS contexts that can be reloaded, and that check who is there.

Servers take people and components on one port: a certificate is optional, but one that is shown
must be good.  Who a component is, the server asks with shared.pki.peer per request.  A client
checks the server *within* the handshake: the first byte it sends, a token perhaps, goes to the
component that it expects or to nobody.

A HotContext is replaced inside: a new chain and new roots, together, for every handshake that
begins after reload().  Open connections keep the certificates they were made with.  Sessions are
not resumed, for a resumed one would be judged by the roots of its first handshake.
"""

import asyncio.sslproto
import secrets
import ssl
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from shared.errors import HanseError, Unauthenticated, Unreachable
from shared.pki.certificates import Certificate, certificates_to_pem
from shared.pki.credentials import Credentials
from shared.pki.identity import Expectation, TrustDomain
from shared.pki.keys import key_to_pem
from shared.pki.peer import PeerIdentity, Revoked, peer_identity

# Forward secrecy and authenticated encryption only; TLS 1.3 has nothing else by itself.
TLS12_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"

# The largest TLS record's payload (RFC 8446 §5.1).
BUFFER_SIZE: Final = 16 * 1024


class HotContext(ssl.SSLContext):
    """Stands in front of a context that can be exchanged; give it to asyncio or aiohttp.

    In itself it has neither certificate nor roots and demands a certificate, so what bypasses
    wrap_bio(), the one way that asyncio and uvloop take, fails.  Make it by the functions below.
    """

    current: ssl.SSLContext
    """The context of now: another object after each reload."""

    credentials: Credentials
    """What `current` was made of."""

    peers: WeakKeyDictionary[ssl.SSLObject, PeerIdentity]
    """A client's open connections, and who was at the other end when each was made."""

    revoked: Revoked

    _build: Callable[[Credentials], ssl.SSLContext]

    def reload(self, credentials: Credentials) -> None:
        """Use `credentials` from the next handshake on.  If this raises, nothing has changed."""
        self.current = self._build(credentials)
        self.credentials = credentials

    def revoked_peers(self) -> list[PeerIdentity]:
        """Return the peers that were revoked after a connection to them was made.

        Each is told once: whoever asks is to cut its connections.
        """
        peers = list(self.peers.items())
        found = [(each, peer) for each, peer in peers if peer.is_revoked(self.revoked)]
        for each, _ in found:
            del self.peers[each]
        return [peer for _, peer in found]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return self.current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


@dataclass(frozen=True, slots=True)
class ServerCheck:
    """What a client asks of the server's certificate: who may be there, and what is revoked."""

    trust_domain: TrustDomain
    expected: Sequence[Expectation]
    revoked: Revoked

    def identify(self, ssl_object: ssl.SSLObject) -> PeerIdentity:
        return peer_identity(
            ssl_object,
            trust_domain=self.trust_domain,
            revoked=self.revoked,
            expected=self.expected,
        )


def server_context(credentials: Credentials) -> HotContext:
    """Return the context of a server's one port."""
    return _hot(ssl.PROTOCOL_TLS_SERVER, _build_server, credentials)


def client_context(credentials: Credentials, *, check: ServerCheck) -> HotContext:
    """Return the context of a component that calls another one.

    A refused server ends the connection with ssl.SSLCertVerificationError; `refusal()` says why.
    The host name is not compared: it says where the peer was looked for, not who it is.
    """
    peers: WeakKeyDictionary[ssl.SSLObject, PeerIdentity] = WeakKeyDictionary()

    def build(new: Credentials) -> ssl.SSLContext:
        context = _checking_client(new.roots, check, peers)
        _load_chain(context, new)
        return context

    hot = _hot(ssl.PROTOCOL_TLS_CLIENT, build, credentials)
    hot.peers = peers
    hot.revoked = check.revoked
    return hot


def visitor_context(
    roots: Sequence[Certificate], *, check: ServerCheck | None = None
) -> ssl.SSLContext:
    """Return the context of someone without a certificate: a person's client, or a joiner.

    With `check` the server is identified as components are; without, by its host name.
    """
    if check is not None:
        return _checking_client(roots, check, WeakKeyDictionary())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    _configure(context, roots)
    return context


def unverified_context_for_root_download() -> ssl.SSLContext:
    """Return a context that accepts *any* server, for fetching the public root certificate.

    Safe for that alone: nothing secret is sent, and what comes is only believed if its SHA-256
    is the join token's (shared.pki.jointoken.check_root).  Whoever answers in the server's place
    can at most make the join fail.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def refusal(error: BaseException) -> HanseError | None:
    """Return why a TLS connection failed, as an error with a code; None if TLS isn't the cause.

    `error` is what the connecting call raised: ssl.SSLError, or an error of aiohttp's around one.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, HanseError):
            return cause
        if isinstance(cause, ssl.SSLCertVerificationError) and cause.__cause__ is None:
            return _verification_error(cause)
        if isinstance(cause, ssl.SSLError) and cause.__cause__ is None:
            return Unreachable(
                "the other end refused the TLS connection, or speaks no TLS",
                code="tls_failed",
                detail=str(cause),
            )
        cause = cause.__cause__ or cause.__context__
    return None


def limit_tls_buffers() -> None:
    """Let each asyncio TLS connection hold 16 KiB buffers instead of 256 KiB.

    An asyncio connection takes a read buffer of `SSLProtocol.max_size` when it is made: 294 KiB
    in all at each end, 56 KiB after this, at no cost in speed, for a TLS record is at most 16 KiB.
    It holds for the whole process and for connections made from then on; call it once, first
    thing, in a program's composition root.  uvloop has buffers of its own and ignores it.
    """
    asyncio.sslproto.SSLProtocol.max_size = BUFFER_SIZE


class _CheckingContext(ssl.SSLContext):
    """Carries the check to where the handshake ends."""

    check: ServerCheck
    peers: WeakKeyDictionary[ssl.SSLObject, PeerIdentity]


class _RecordReads(ssl.SSLObject):
    """Reads a TLS record at a time, which is all that a read ever returns.

    uvloop asks for 256 KiB, and so much memory is taken for each read and given back after it.
    """

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - as ssl has it
        if buffer is not None:
            return super().read(len, buffer)
        return super().read(min(len, BUFFER_SIZE))


class _CheckingSSLObject(_RecordReads):
    def do_handshake(self) -> None:
        super().do_handshake()
        context: Any = self.context
        try:
            context.peers[self] = context.check.identify(self)
        except HanseError as exc:
            # asyncio and aiohttp know this type: they close the connection before anything is
            # sent, and hand it on.
            raise ssl.SSLCertVerificationError(1, f"{exc.message} ({exc.code})") from exc


def _hot(
    protocol: int, build: Callable[[Credentials], ssl.SSLContext], credentials: Credentials
) -> HotContext:
    hot = HotContext(protocol)
    # For what looks at the context's own settings instead of wrapping a connection with it.
    hot.check_hostname = False
    hot.verify_mode = ssl.CERT_REQUIRED
    hot.peers = WeakKeyDictionary()
    hot.revoked = lambda _serial: False
    hot._build = build  # noqa: SLF001 - ssl.SSLContext takes no arguments of ours when it is made
    hot.reload(credentials)
    return hot


def _build_server(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # People come without a certificate; whoever shows one must be good.
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    context.sslobject_class = _RecordReads
    _configure(context, credentials.roots)
    _load_chain(context, credentials)
    return context


def _checking_client(
    roots: Sequence[Certificate],
    check: ServerCheck,
    peers: WeakKeyDictionary[ssl.SSLObject, PeerIdentity],
) -> ssl.SSLContext:
    context = _CheckingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check = check
    context.peers = peers
    context.sslobject_class = _CheckingSSLObject
    context.check_hostname = False
    _configure(context, roots)
    return context


def _configure(context: ssl.SSLContext, roots: Sequence[Certificate]) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS12_CIPHERS)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # Without partial chains, which newer Pythons allow: a chain must reach a root.
    context.verify_flags = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_TRUSTED_FIRST
    context.set_alpn_protocols(["http/1.1"])
    context.load_verify_locations(cadata=certificates_to_pem(roots))


def _load_chain(context: ssl.SSLContext, credentials: Credentials) -> None:
    # Python loads keys from files only.  The file's content is of no use to others: it is
    # encrypted with a password that lives as long as this call.
    password = secrets.token_bytes(32)
    with tempfile.NamedTemporaryFile("w", encoding="ascii", suffix=".pem") as file:
        file.write(key_to_pem(credentials.key, password=password))
        file.write(certificates_to_pem(credentials.chain))
        file.flush()
        context.load_cert_chain(file.name, password=password)


# What OpenSSL's verifier says (x509_vfy.h, X509_V_ERR_*), as codes of ours.
_EXPIRED: Final = frozenset({9, 10})  # not yet valid, has expired
_UNKNOWN_ROOT: Final = frozenset({2, 18, 19, 20, 21})  # unable to get the issuer, self-signed
_CONSTRAINTS: Final = frozenset({24, 25, 47, 48, 79})  # not a CA, path length, (not) permitted name


def _verification_error(error: ssl.SSLCertVerificationError) -> HanseError:
    number = getattr(error, "verify_code", 0)
    if number in _EXPIRED:
        return Unauthenticated(
            "the other end's certificate has expired, or this host's clock is wrong",
            code="certificate_expired",
            detail=str(error),
        )
    if number in _UNKNOWN_ROOT:
        return Unauthenticated(
            "the other end's certificate is from another CA",
            code="wrong_root",
            detail=str(error),
        )
    if number in _CONSTRAINTS:
        return Unauthenticated(
            "the other end's certificate claims a name that its CA may not give",
            code="wrong_issuer",
            detail=str(error),
        )
    return Unauthenticated(
        "the other end's certificate is not accepted", code="wrong_identity", detail=str(error)
    )
