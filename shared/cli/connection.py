"""One client's calls: request ids, retries that count once, pages, and streams that resume."""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

from shared.backoff import Backoff
from shared.clock import Clock
from shared.errors import Gone, HanseError, Malformed, Unauthenticated, Unavailable, Unreachable
from shared.http.peer import Answer, PeerClient
from shared.http.statuses import error_of
from shared.http.trace import REQUEST_ID, new_request_id
from shared.ids import parse_name

API: Final = "/api/v1"

# The largest page that servers give.
PAGE: Final = 1000

# Seconds between attempts to resume a stream.
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 15.0

Lost = Callable[[HanseError], None]
"""Told when a stream has broken and will be resumed."""

Renew = Callable[[], Awaitable[bool]]
"""Gets another access token; False if there is none to be had."""

_RENEWABLE: Final = frozenset({"token_expired", "token_revoked", "invalid_token"})
"""An access token may end before its login does: by its time, or with the server's keys."""


async def _no_renewal() -> bool:
    return False


class Connection:
    """Calls one server; an error that the server answered has the request's id in its notes."""

    def __init__(
        self,
        peer: PeerClient,
        *,
        clock: Clock,
        source: random.Random,
        renew: Renew = _no_renewal,
    ) -> None:
        self._peer = peer
        self._renew = renew
        self._clock = clock
        self._source = source

    async def close(self) -> None:
        await self._peer.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Make one call, under a request id of its own unless it is given.

        Once more if the token counts no longer and another is to be had.
        """
        request_id = request_id or new_request_id()
        sent = {REQUEST_ID: request_id, **(headers or {})}
        with _noting(request_id):
            try:
                return await self._peer.request(
                    method, path, body=body, params=params, headers=sent
                )
            except Unauthenticated as exc:
                if exc.code not in _RENEWABLE or not await self._renew():
                    raise
            return await self._peer.request(method, path, body=body, params=params, headers=sent)

    async def mapping(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Make one call that is answered with a JSON object."""
        answer = (await self.call(method, path, **request)).json()
        if not isinstance(answer, dict):
            raise Malformed("the server's answer is no JSON object")
        return answer

    async def write(self, method: str, path: str, **request: Any) -> Answer:
        """Send a write; once more if the connection broke, for the same id counts only once."""
        request_id = new_request_id()
        try:
            return await self.call(method, path, request_id=request_id, **request)
        except Unreachable as exc:
            if exc.code != Unreachable.default_code:
                raise
        return await self.call(method, path, request_id=request_id, **request)

    async def backwards(
        self, path: str, params: dict[str, str], limit: int | None, position: str
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield at most `limit` items, latest first, page by page.

        `position` is the field of an item before which the next page begins.
        """
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            page = await self.mapping("GET", path, params={**params, "limit": str(size)})
            items = page["items"]
            for item in items:
                yield item
            if len(items) < size:
                return
            left = None if left is None else left - len(items)
            params["before"] = str(items[-1][position])

    async def follow(
        self,
        path: str,
        params: dict[str, str],
        after: int | None,
        position: str,
        on_lost: Lost | None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the lines of a stream for ever, resumed behind the `position` of the last one.

        Unavailable if the stream breaks before its first line: then nothing says from where.
        """
        backoff = Backoff(first=_FIRST_WAIT, longest=_LONGEST_WAIT, source=self._source)
        heard = False
        while True:
            if after is not None:
                params["after"] = str(after)
            lost: HanseError = Unreachable("the server has ended the stream")
            try:
                async for line in self._stream(path, params):
                    heard = True
                    backoff.reset()
                    after = line.get(position, after)
                    yield line
            except Unavailable as exc:
                lost = exc
            except Gone as exc:
                # What the caller may see is another by now; what is told from here on is that.
                if exc.code != "view_changed":
                    raise
                lost = exc
            except Unauthenticated as exc:
                if exc.code not in _RENEWABLE or not await self._renew():
                    raise
                continue
            if not heard:
                raise lost
            if on_lost is not None:
                on_lost(lost)
            await self._clock.sleep(backoff.next())

    async def lines(
        self, path: str, params: dict[str, str], *, body: Any = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the lines of a stream that has an end; once more if another token is to be had.

        With a body it is asked for by POST.
        """
        try:
            async for line in self._stream(path, params, body=body):
                yield line
        except Unauthenticated as exc:
            if exc.code not in _RENEWABLE or not await self._renew():
                raise
        else:
            return
        async for line in self._stream(path, params, body=body):
            yield line

    async def _stream(
        self, path: str, params: dict[str, str], *, body: Any = None
    ) -> AsyncIterator[dict[str, Any]]:
        request_id = new_request_id()
        headers = {REQUEST_ID: request_id}
        method = "GET" if body is None else "POST"
        with _noting(request_id):
            async with self._peer.stream(
                method, path, body=body, params=params, headers=headers
            ) as lines:
                async for line in lines:
                    if not isinstance(line, dict):
                        raise Malformed("a line of the stream is no JSON object")
                    if line.get("type") == "error":
                        raise error_of(int(line.get("status", 500)), line)
                    yield line


@contextmanager
def _noting(request_id: str) -> Iterator[None]:
    """Add the request's id to an error that the server answered with."""
    try:
        yield
    except HanseError as exc:
        if not isinstance(exc, Unreachable):
            exc.add_note(f"request id: {request_id}")
        raise


def segment_of(name: str) -> str:
    """Return a name as part of a path; Invalid (`invalid_name`)."""
    return quote(parse_name(name), safe="")


def params_of(**values: object) -> dict[str, str]:
    """Return query parameters; those that are None are left out."""
    return {name: str(value) for name, value in values.items() if value is not None}
