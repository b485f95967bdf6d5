"""One component's client of another: mutual TLS, no redirects, a deadline on everything.

Whom it talks to is decided by the context that is handed in (shared.pki), which checks the
server's certificate before the first byte is sent.  What comes back is not trusted either: answers
and lines have a longest length, and problem documents become the errors that they stand for.
"""

import io
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from shared.errors import HanseError, Malformed, TooLarge, Unreachable
from shared.http.statuses import error_of
from shared.http.trace import outgoing_headers
from shared.pki.tls import HotContext, refusal

log = logging.getLogger(__name__)

MIB: Final = 1024 * 1024

Params = Mapping[str, str] | None
Headers = Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """Seconds and bytes that a call may take at most.

    `silence` is how long a stream may say nothing: thrice the ten seconds between bookmarks.
    """

    connect: float = 10.0
    total: float = 30.0
    silence: float = 30.0
    answer: int = 64 * MIB
    line: int = 16 * MIB


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as plain data; Malformed if it is not JSON."""
        return _json(self.body)


class PeerClient:
    """Calls another component at one of several endpoints (`https://host:port`).

    An endpoint that can't be reached makes room for the next at the following call; when to call
    again is the caller's decision.  Every method raises Unreachable if there is no answer or it
    breaks off, else the error that the peer's problem document names.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: ssl.SSLContext | None,
        token: Callable[[], str | None] | None = None,
        limits: PeerLimits | None = None,
        headers: Headers = None,
    ) -> None:
        """`tls` is a context of shared.pki.tls, None only towards plain text on loopback; `token`
        gives a bearer token, for people's clients; `headers` go with every request.
        """
        if not endpoints:
            raise ValueError("give at least one endpoint")
        self._endpoints = [URL(each) for each in endpoints]
        self._tls = tls
        self._token = token
        self._limits = limits or PeerLimits()
        self._always = dict(headers or {})
        self._session: aiohttp.ClientSession | None = None
        self._retired: list[aiohttp.ClientSession] = []
        self._responses: dict[aiohttp.ClientResponse, aiohttp.ClientSession] = {}
        self._made_with: ssl.SSLContext | None = None

    @property
    def endpoint(self) -> str:
        """The endpoint that the next call goes to."""
        return str(self._endpoints[0])

    async def close(self) -> None:
        self._responses.clear()
        self._retire()
        await self._close_retired()

    def cut_revoked(self) -> None:
        """Cut every connection if one of them leads to a peer that has been revoked since.

        Streams break off, as Unreachable; the next call makes a new connection, whose handshake
        refuses whoever is revoked.
        """
        if not isinstance(self._tls, HotContext) or not (peers := self._tls.revoked_peers()):
            return
        log.warning("peer revoked, connections cut", extra={"peer": str(peers[0].id)})
        self._retire()
        for response in tuple(self._responses):
            response.close()

    def _retire(self) -> None:
        """Let the next call have a session, and so connections, of its own."""
        if self._session:
            self._retired.append(self._session)
            self._session = None

    async def _close_retired(self) -> None:
        """Close retired sessions in which nothing is under way, and so their idle connections."""
        busy = set(self._responses.values())
        done = [each for each in self._retired if each not in busy]
        self._retired = [each for each in self._retired if each in busy]
        for each in done:
            await each.close()

    async def get(self, path: str, *, params: Params = None, headers: Headers = None) -> Answer:
        return await self.request("GET", path, params=params, headers=headers)

    async def put(self, path: str, body: Any, *, params: Params = None) -> Answer:
        return await self.request("PUT", path, body=body, params=params)

    async def post(self, path: str, body: Any, *, params: Params = None) -> Answer:
        return await self.request("POST", path, body=body, params=params)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Params = None,
        headers: Headers = None,
    ) -> Answer:
        """Make one call and read its whole answer; `body` is JSON data, or bytes as they are."""
        async with self._respond(
            method, path, body=body, params=params, headers=headers, total=self._limits.total
        ) as (response, endpoint):
            return Answer(response.status, response.headers, await self._read(response, endpoint))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Params = None,
        headers: Headers = None,
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Open a stream of JSON lines; the iterator ends when the peer ends it.

        The iterator raises Unreachable when the stream breaks off, is silent for too long, or ends
        in half a line, and TooLarge at a line that is too long.
        """
        async with self._respond(
            method, path, body=body, params=params, headers=headers, total=None
        ) as (response, endpoint):
            yield self._lines(response, endpoint)

    @asynccontextmanager
    async def _respond(
        self,
        method: str,
        path: str,
        *,
        body: Any,
        params: Params,
        headers: Headers,
        total: float | None,
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, URL]]:
        """Send a request and yield a good answer; `total` also bounds the block's reading."""
        session = self._open()
        await self._close_retired()
        endpoint = self._endpoints[0]
        timeout = aiohttp.ClientTimeout(
            total=total, connect=self._limits.connect, sock_read=self._limits.silence
        )
        with self._translating(endpoint):
            response = await session.request(
                method,
                endpoint.joinpath(path.lstrip("/"), encoded=True),
                params=params,
                data=_bytes(body),
                headers=self._headers(body, headers),
                allow_redirects=False,
                timeout=timeout,
            )
        self._responses[response] = session
        try:
            async with response:
                if not 200 <= response.status < 300:
                    raise await self._error(response, endpoint)
                yield response, endpoint
        finally:
            self._responses.pop(response, None)

    @contextmanager
    def _translating(self, endpoint: URL) -> Iterator[None]:
        """Turn the library's errors into Unreachable, and try another endpoint next time."""
        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            if self._endpoints[0] is endpoint:
                self._endpoints.append(self._endpoints.pop(0))
            raise _unreachable(endpoint, exc) from exc

    def _open(self) -> aiohttp.ClientSession:
        context = self._tls.current if isinstance(self._tls, HotContext) else None
        if context is not self._made_with:
            # A renewed certificate is shown from the next call on; streams go on as they are.
            self._made_with = context
            self._retire()
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls or True, limit=16)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,  # never through a proxy that the environment names
                read_bufsize=256 * 1024,
            )
        return self._session

    def _headers(self, body: Any, more: Headers) -> dict[str, str]:
        headers = outgoing_headers() | self._always | {"Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token and (token := self._token()):
            headers["Authorization"] = f"Bearer {token}"
        return headers | dict(more or {})

    async def _error(self, response: aiohttp.ClientResponse, endpoint: URL) -> HanseError:
        if 300 <= response.status < 400:
            where = f"{endpoint.host}:{endpoint.port}"
            return Unreachable(
                f"{where} sends us elsewhere, and we don't follow", code="redirected"
            )
        body = await self._read(response, endpoint)
        try:
            document = _json(body)
        except Malformed:
            document = {}
        retry_after = response.headers.get("Retry-After", "")
        return error_of(
            response.status,
            document if isinstance(document, dict) else {},
            retry_after=float(retry_after) if retry_after.isdecimal() else None,
        )

    async def _read(self, response: aiohttp.ClientResponse, endpoint: URL) -> bytes:
        pieces: list[bytes] = []
        size = 0
        with self._translating(endpoint):
            async for piece in response.content.iter_any():
                size += len(piece)
                if size > self._limits.answer:
                    raise TooLarge(f"the answer is larger than {self._limits.answer} bytes")
                pieces.append(piece)
        return b"".join(pieces)

    async def _lines(self, response: aiohttp.ClientResponse, endpoint: URL) -> AsyncIterator[Any]:
        pieces: list[bytes] = []
        size = 0
        with self._translating(endpoint):
            async for data in response.content.iter_any():
                # Only the new bytes are searched, so a long line costs no more than its length.
                *ends, rest = data.split(b"\n")
                for end in ends:
                    line = b"".join([*pieces, end])
                    pieces, size = [], 0
                    self._check_line(len(line))
                    if line:
                        yield _json(line)
                if rest:
                    pieces.append(rest)
                    size += len(rest)
                    self._check_line(size)
            if pieces:
                raise aiohttp.ClientPayloadError("the stream ended within a line")

    def _check_line(self, size: int) -> None:
        if size > self._limits.line:
            raise TooLarge(f"a line of the stream is longer than {self._limits.line} bytes")


def _bytes(body: Any) -> io.BytesIO | None:
    if body is None:
        return None
    # A file is sent in pieces; bytes of more than 1 MiB would hold the loop, and aiohttp warns.
    return io.BytesIO(body if isinstance(body, bytes) else orjson.dumps(body))


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except json.JSONDecodeError as exc:
        raise Malformed(f"the peer's answer is not JSON: {exc}") from exc


def _unreachable(endpoint: URL, exc: Exception) -> Unreachable:
    """Say what happened in words, with the code of a refused certificate."""
    code = None
    if refused := refusal(exc):
        reason, code = refused.message, refused.code
    elif isinstance(exc, TimeoutError):
        reason = "it took too long"
    elif isinstance(exc, aiohttp.ClientConnectorError):
        number = exc.os_error.errno
        # asyncio puts the address into the text, and resolvers have numbers of their own.
        reason = os.strerror(number) if number and number > 0 else str(exc.os_error.strerror)
    else:
        reason = "the connection broke off"
    where = f"{endpoint.host}:{endpoint.port}"
    return Unreachable(f"{where} does not answer: {reason}", code=code, detail=repr(exc))
