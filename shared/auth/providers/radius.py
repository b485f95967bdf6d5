"""Logins against RADIUS servers (RFC 2865).

Requests and answers are both signed with Message-Authenticator (RFC 3579, section 3.2).  An answer
without it isn't one: whoever sits between could make an Access-Accept of an Access-Reject
(BlastRADIUS, CVE-2024-3596).

Each login has a socket of its own on the event loop, and so a port and an identifier that nobody
can guess from the last ones, and any number of logins may wait for servers that take their time
to refuse.  pyrad makes and judges the packets; its asyncio client has one socket for 256 requests
and waits out its time-out when nobody listens.
"""

import asyncio
import logging
import unicodedata
from io import StringIO
from typing import Final

from pyrad.dictionary import Dictionary
from pyrad.packet import (
    AccessAccept,
    AccessChallenge,
    AccessReject,
    AuthPacket,
    Packet,
    PacketError,
)

from shared.auth.providers.contract import (
    Person,
    ProviderBusy,
    ProviderName,
    ProviderUnreachable,
)
from shared.auth.providers.failover import PAUSE, Failover, ServerFailed
from shared.auth.providers.typed import may_be_asked
from shared.clock import Clock
from shared.model.login_servers import parse_radius_server
from shared.model.settings_policies import RADIUSSettings

log = logging.getLogger(__name__)

TIMEOUT: Final = 5.0
"""Seconds for a server's answer; the request is sent twice in that time."""
SENDINGS: Final = 2
LONGEST_NAME: Final = 253
"""Octets; what fits into an attribute (RFC 2865, section 5)."""
LONGEST_PASSWORD: Final = 128
"""Octets (RFC 2865, section 5.2)."""
AT_ONCE: Final = 500
"""Logins that wait for an answer, each with a socket; a guess."""

# RFC 2865, section 5, and RFC 3579, section 3.2.
_USER_NAME: Final = 1
_USER_PASSWORD: Final = 2
_SERVICE_TYPE: Final = 6
_NAS_IDENTIFIER: Final = 32
_AUTHENTICATE_ONLY: Final = (8).to_bytes(4)
_GROUP_ATTRIBUTES: Final = {"Filter-Id": 11, "Class": 25}
# Attributes are meant by number; without any dictionary pyrad leaves vendors' packed.
_DICTIONARY: Final = Dictionary(StringIO())
_ANSWERS: Final = frozenset({AccessAccept, AccessReject, AccessChallenge})

Attribute = int | tuple[int, int]


class RADIUSProvider:
    """Implements Provider.  `secret` is shared with all servers of the policy."""

    def __init__(
        self,
        settings: RADIUSSettings,
        *,
        secret: str | None,
        clock: Clock,
        identifier: str = "hanse",
        timeout: float = TIMEOUT,
        pause: float = PAUSE,
    ) -> None:
        self._settings = settings
        self._secret = (secret or "").encode()
        self._identifier = identifier.encode()[:LONGEST_NAME]
        self._timeout = timeout
        self._clock = clock
        self._group_attribute = _attribute(settings.group_attribute)
        self._failover = Failover("radius", settings.servers, clock=clock, pause=pause)
        self._waiting = 0

    @property
    def name(self) -> ProviderName:
        return "radius"

    async def authenticate(self, username: str, password: str) -> Person | None:
        """Return who it is; see Provider."""
        if not may_be_asked(username) or not may_be_asked(password):
            return None
        name = self._one_spelling(username)
        if len(name.encode()) > LONGEST_NAME or len(password.encode()) > LONGEST_PASSWORD:
            return None
        if not self._secret:
            raise ProviderUnreachable("the provider radius has no secret: is the Credential there?")
        if self._waiting >= AT_ONCE:
            raise ProviderBusy(f"{AT_ONCE} logins wait for the provider radius already; try again")
        self._waiting += 1
        try:
            return await self._ask_in_turn(name, password)
        finally:
            self._waiting -= 1

    async def look_up(self, username: str) -> Person | None:
        """Raise NotImplementedError: RADIUS tells nothing without the password."""
        raise NotImplementedError("RADIUS can't look anybody up")

    def close(self) -> None:
        """Nothing is kept between logins."""

    async def _ask_in_turn(self, username: str, password: str) -> Person | None:
        attempt = self._failover.attempt()
        for server in attempt.servers():
            try:
                answer = await self._ask(server, username, password)
            except ServerFailed as exc:
                attempt.failed(server, exc)
                log.warning(
                    "a RADIUS server fails, asking the next",
                    extra={"server": server, "reason": str(exc)},
                )
                continue
            attempt.worked(server)
            return self._judge(server, answer, username)
        raise attempt.unreachable()

    async def _ask(self, server: str, username: str, password: str) -> Packet:
        """Return the server's signed answer to an Access-Request."""
        request = AuthPacket(secret=self._secret, dict=_DICTIONARY, message_authenticator=True)
        request[_USER_NAME] = [username.encode()]
        request[_USER_PASSWORD] = [request.PwCrypt(password)]
        request[_SERVICE_TYPE] = [_AUTHENTICATE_ONLY]
        request[_NAS_IDENTIFIER] = [self._identifier]
        exchange = _Exchange(request)
        host, port = parse_radius_server(server)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: exchange, remote_addr=(host, port)
                )
        except (OSError, UnicodeError) as exc:
            raise ServerFailed(f"it can't be reached: {exc or 'no time left'}") from exc
        try:
            return await self._answer(exchange, transport)
        except OSError as exc:
            raise ServerFailed(f"it can't be reached: {exc}") from exc
        finally:
            transport.close()

    async def _answer(self, exchange: "_Exchange", transport: asyncio.DatagramTransport) -> Packet:
        octets = exchange.request.RequestPacket()
        for _ in range(SENDINGS):
            transport.sendto(octets)
            if await self._clock.wait(exchange.is_over, self._timeout / SENDINGS):
                return exchange.result()
        raise ServerFailed(exchange.suspicion or f"no answer within {self._timeout:g} s")

    def _judge(self, server: str, answer: Packet, username: str) -> Person | None:
        if answer.code == AccessChallenge:
            log.warning(
                "a RADIUS server asks for a second step, which isn't offered; refused",
                extra={"server": server},
            )
        if answer.code != AccessAccept:
            return None
        # A server may say how it spells the name (RFC 2865, section 5.1).
        said = next(iter(_texts(answer.get(_USER_NAME, ()))), username)
        spelled = self._one_spelling(said)
        return Person(spelled, spelled, self._groups(answer), self.name)

    def _one_spelling(self, name: str) -> str:
        """Return the name to send, and to know the person by."""
        name = unicodedata.normalize("NFC", name.strip())
        return name if self._settings.case_sensitive else name.lower()

    def _groups(self, answer: Packet) -> frozenset[str]:
        prefix = self._settings.group_prefix
        values = _texts(answer.get(self._group_attribute, ()))
        return frozenset(
            value.removeprefix(prefix)
            for value in values
            if value.startswith(prefix) and value != prefix
        )


class _Exchange(asyncio.DatagramProtocol):
    """One request and the first answer that is signed for it."""

    def __init__(self, request: AuthPacket) -> None:
        self.request = request
        self.is_over = asyncio.Event()
        self.suspicion: str | None = None
        self._answer: Packet | None = None
        self._failure: Exception | None = None

    def result(self) -> Packet:
        """Return the answer; OSError if nobody listens there."""
        if self._failure is not None:
            raise self._failure
        assert self._answer is not None
        return self._answer

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Take the answer; what isn't signed rightly may be anybody's and is left aside."""
        del addr  # the socket is connected
        if self.is_over.is_set():
            return
        try:
            answer = self.request.CreateReply(packet=data)
            is_signed = self.request.VerifyReply(answer, data, enforce_ma=True)
        except (PacketError, ValueError, LookupError, TypeError):
            is_signed = False
        if not is_signed or answer.code not in _ANSWERS:
            self.suspicion = (
                "it answers, but without a Message-Authenticator made with our secret: is the "
                "secret the same, does the server sign its answers?"
            )
            return
        self._answer = answer
        self.is_over.set()

    def error_received(self, exc: Exception) -> None:
        self._failure = exc
        self.is_over.set()


def _attribute(name: str) -> Attribute:
    if name in _GROUP_ATTRIBUTES:
        return _GROUP_ATTRIBUTES[name]
    vendor, _, kind = name.partition(".")
    return int(vendor), int(kind)


def _texts(values: list[bytes] | tuple[()]) -> list[str]:
    """Return the values that are text: a server may add a Class of its own, made of anything."""
    found = []
    for value in values:
        try:
            text = value.decode().strip()
        except UnicodeDecodeError:
            continue
        if text and text.isprintable():
            found.append(text)
    return found
