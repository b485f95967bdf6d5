"""Connections to directories: verified, bounded in time, kept for the next login.

One use of a connection is one call of `use`; in between it is kept for a minute, so that two
hundred logins at once don't shake hands four hundred times.  What ldap3 leaves open is closed here:
it takes any certificate unless told otherwise, checks names in its own way, leaks the sockets of
attempts that failed, and doesn't raise on a referral or an exceeded limit.
"""

import socket
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import ldap3
from ldap3.core.exceptions import (
    LDAPCommunicationError,
    LDAPException,
    LDAPInvalidFilterError,
    LDAPOperationResult,
    LDAPSocketOpenError,
)
from pyasn1.error import PyAsn1Error

from shared.auth.providers.failover import ServerFailed
from shared.clock import Clock
from shared.model.login_servers import DirectoryAddress, parse_directory_url

Purpose = Literal["search", "check"]
"""Bound as the service account to find people, or to be bound as whoever logs in."""

# A directory that changed the service account's password refuses it a minute later at the latest.
KEPT_FOR: Final = 60.0

# What ldap3 may raise on an answer that makes no sense: it isn't written for hostile servers.
BROKEN: Final = (
    LDAPException,
    PyAsn1Error,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)

# RFC 4511, section 4.1.9, and RFC 4513, section 5.1.
SUCCESS: Final = 0
_NOT_WILLING_NOW: Final = frozenset({51, 52})  # busy, unavailable
_WANTS_TLS: Final = frozenset({8, 13})  # strongerAuthRequired, confidentialityRequired

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Whom to search as."""

    dn: str
    secret: str


class _VerifiedTLS(ldap3.Tls):  # type: ignore[misc]
    """TLS by one context of ours, with the name that the policy gives, not the address."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context
        self._host = host
        self.failure: ssl.SSLError | None = None

    def wrap_socket(self, connection: ldap3.Connection, do_handshake: bool = False) -> None:
        del do_handshake  # always: nothing is said before the certificate is verified
        try:
            connection.socket = self._context.wrap_socket(
                connection.socket, server_hostname=self._host
            )
        except ssl.SSLError as exc:
            self.failure = exc
            raise


@dataclass(frozen=True, slots=True)
class _Kept:
    connection: ldap3.Connection
    since: float


class Connections:
    """Opens and keeps connections; used by several threads, each connection by one at a time."""

    def __init__(
        self,
        *,
        start_tls: bool,
        ca_certificates: str,
        account: ServiceAccount | None,
        clock: Clock,
        timeout: float,
    ) -> None:
        self._start_tls = start_tls
        self._ca_certificates = ca_certificates
        self._account = account
        self._clock = clock
        self._timeout = timeout
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._idle: defaultdict[tuple[str, Purpose], deque[_Kept]] = defaultdict(deque)
        self._is_closed = False

    def use(self, server: str, purpose: Purpose, operation: Callable[[ldap3.Connection], T]) -> T:
        """Run an operation on a connection to the server; ServerFailed.

        It may be run twice: a kept connection may turn out to have been closed meanwhile.
        """
        kept = self._take(server, purpose)
        if kept is not None:
            try:
                return self._run(server, purpose, kept, operation)
            except TimeoutError as exc:
                raise self._failed(exc, kept.connection) from exc
            except (LDAPCommunicationError, OSError):
                pass  # closed while idle, most likely; a new one will tell
            except BROKEN as exc:
                raise self._failed(exc, kept.connection) from exc
        opened = _Kept(self._open(server), self._clock.monotonic())
        try:
            if purpose == "search":
                self._bind_service_account(opened.connection)
            return self._run(server, purpose, opened, operation)
        except ServerFailed:
            _discard(opened.connection)
            raise
        except BROKEN as exc:
            _discard(opened.connection)
            raise self._failed(exc, opened.connection) from exc

    def close(self) -> None:
        """Close what is idle; what is in use is closed after it."""
        with self._lock:
            self._is_closed = True
            idle = [kept for queue in self._idle.values() for kept in queue]
            self._idle.clear()
        for kept in idle:
            _discard(kept.connection)

    def _run(
        self,
        server: str,
        purpose: Purpose,
        kept: _Kept,
        operation: Callable[[ldap3.Connection], T],
    ) -> T:
        """Run the operation; keep the connection unless that failed."""
        is_sound = False
        try:
            result = operation(kept.connection)
            is_sound = True
        finally:
            with self._lock:
                if is_sound and not self._is_closed:
                    self._idle[server, purpose].append(kept)
                else:
                    is_sound = False
            if not is_sound:
                _discard(kept.connection)
        return result

    def _take(self, server: str, purpose: Purpose) -> _Kept | None:
        """Return the connection that was used last, and close those that are too old."""
        oldest = self._clock.monotonic() - KEPT_FOR
        with self._lock:
            queue = self._idle[server, purpose]
            old = [kept for kept in queue if kept.since < oldest]
            for kept in old:
                queue.remove(kept)
            found = queue.pop() if queue else None
        for kept in old:
            _discard(kept.connection)
        return found

    def _open(self, server: str) -> ldap3.Connection:
        address = parse_directory_url(server)
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise ServerFailed(f"its name can't be resolved: {exc}") from exc
        places = list(dict.fromkeys(str(each[4][0]) for each in found))
        # All addresses of a name share the time of one.
        timeout = max(self._timeout / len(places), min(1.0, self._timeout))
        failure = ServerFailed("its name has no address")
        for place in places:
            try:
                return self._connect(address, place, timeout)
            except ServerFailed as exc:
                failure = exc
        raise failure

    def _connect(self, address: DirectoryAddress, place: str, timeout: float) -> ldap3.Connection:
        tls = _VerifiedTLS(self._tls_context(), address.host)
        server = ldap3.Server(
            place,
            port=address.port,
            use_ssl=address.scheme == "ldaps",
            tls=tls,
            get_info=ldap3.NONE,
            # ldap3 leaves it on the socket, so it counts for each read and write as well;
            # `receive_timeout` takes whole seconds only.
            connect_timeout=timeout,
            mode=ldap3.IP_SYSTEM_DEFAULT,
        )
        connection = ldap3.Connection(
            server,
            client_strategy=ldap3.SYNC,
            auto_bind=ldap3.AUTO_BIND_NONE,
            auto_referrals=False,
            raise_exceptions=True,
            check_names=False,
            read_only=True,
        )
        try:
            connection.open(read_server_info=False)
            if address.scheme == "ldap" and self._start_tls:
                connection.start_tls(read_server_info=False)
                if not connection.tls_started:
                    raise ServerFailed("it doesn't start TLS")  # noqa: TRY301
            connection.socket.settimeout(self._timeout)
        except ServerFailed:
            _discard(connection)
            raise
        except BROKEN as exc:
            _discard(connection)
            raise self._failed(tls.failure or exc, connection) from exc
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                try:
                    context = ssl.create_default_context(cadata=self._ca_certificates or None)
                except (ssl.SSLError, ValueError) as exc:
                    raise ServerFailed(f"caCertificates can't be read: {exc}") from exc
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                # A certificate without subjectAltName names nobody (RFC 9525, section 6.2).
                context.hostname_checks_common_name = False
                self._context = context
            return self._context

    def _bind_service_account(self, connection: ldap3.Connection) -> None:
        if self._account is None:
            return
        if not self._account.secret:
            raise ServerFailed("the service account's Credential is missing", is_down=False)
        try:
            bind(connection, self._account.dn, self._account.secret)
        except LDAPOperationResult as exc:
            if exc.result in _NOT_WILLING_NOW | _WANTS_TLS:
                raise
            raise ServerFailed(
                f"it refuses the service account {self._account.dn}: {words_of(exc)}"
            ) from exc

    def _failed(self, exc: Exception, connection: ldap3.Connection) -> ServerFailed:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return ServerFailed(f"its certificate doesn't verify: {exc.verify_message}")
        if isinstance(exc, TimeoutError):
            return ServerFailed(f"no answer within {self._timeout:g} s")
        if isinstance(exc, ssl.SSLError):
            return ServerFailed(f"TLS fails: {exc.reason or exc}")
        if isinstance(exc, LDAPOperationResult):
            return ServerFailed(words_of(exc), is_down=_is_down(exc))
        if isinstance(exc, LDAPInvalidFilterError):
            return ServerFailed("userFilter isn't a filter that can be sent", is_down=False)
        if isinstance(exc, LDAPCommunicationError | OSError):
            return ServerFailed(str(connection.last_error or exc))
        return ServerFailed(f"its answer makes no sense: {type(exc).__name__}", is_down=False)


def bind(connection: ldap3.Connection, dn: str, password: str) -> None:
    """Bind, or raise LDAPOperationResult.

    ValueError for an empty password, with which anybody would be bound.
    """
    if not dn or not password:
        raise ValueError("a bind needs a DN and a password")
    if connection.closed:
        # ldap3 would open it anew, and leave out StartTLS.
        raise LDAPSocketOpenError("the connection is closed")
    connection.authentication = ldap3.SIMPLE
    connection.user = dn
    # As octets it is sent as typed: ldap3 would map parts of a text to nothing (RFC 4013), and
    # refuse what directories take.
    connection.password = password.encode()
    try:
        connection.bind(read_server_info=False)
    finally:
        connection.password = None
        connection.request = None
    check_result(connection)


def check_result(connection: ldap3.Connection) -> None:
    """Raise LDAPOperationResult for the results on which ldap3 doesn't: referrals, limits."""
    result: dict[str, Any] = connection.result
    if result["result"] != SUCCESS:
        raise LDAPOperationResult(
            result=result["result"],
            description=result["description"],
            dn=result["dn"],
            message=result["message"] or ", ".join(result.get("referrals") or ()),
            response_type=result["type"],
        )


def words_of(exc: LDAPOperationResult) -> str:
    """Return what a server said, for the log and for who may read the policy."""
    return ": ".join(str(part) for part in (exc.description, exc.message) if part)


def _is_down(exc: LDAPOperationResult) -> bool:
    return exc.result in _NOT_WILLING_NOW | _WANTS_TLS


def _discard(connection: ldap3.Connection) -> None:
    """Close a connection, whatever state it is in."""
    raw = connection.socket
    try:
        connection.unbind()
    except BROKEN:
        pass  # it is being thrown away because it fails
    finally:
        if raw is not None:
            raw.close()
