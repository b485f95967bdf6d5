"""Streams of JSON lines: one change after another for as long as both sides are there.

Nothing is buffered for a reader that falls behind: when the socket's buffer stays full for longer
than `patience` the connection is cut, and the reader resumes by position.  A stream also ends when
its caller's token does, and when the server stops.

Lines that many readers share go to each connection without its task (shared.tasks.streams).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Iterator
from typing import Any, Final

import orjson
from aiohttp import web

from shared.errors import HanseError, RevisionCompacted, Unavailable
from shared.http.keys import AUTHENTICATOR, METRICS, STREAMS
from shared.http.request import caller_of, request_id
from shared.http.statuses import status_of
from shared.metrics.names import HTTP_SLOW_STREAMS, HTTP_STREAMS
from shared.tasks.streams import LONG, Place

log = logging.getLogger(__name__)

NDJSON: Final = "application/x-ndjson"

# A reader that can't take a single line in this time has no use for the next thousand.
PATIENCE: Final = 10.0


class Streams:
    """The open streams of one server, so that they end when it stops."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._tasks)

    def enter(self) -> asyncio.Task[Any]:
        """Count the current task in; Unavailable once the server is stopping.

        A client whose stream has just ended may come back over a connection that is still open.
        """
        if self._stopped:
            raise Unavailable("the server is stopping; come back in a moment", code="stopping")
        task = asyncio.current_task()
        assert task is not None, "a stream is answered within a task"
        self._tasks.add(task)
        return task

    def leave(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)

    def stop(self) -> None:
        self._stopped = True
        for task in tuple(self._tasks):
            task.cancel()


def line(document: Any) -> bytes:
    """Return one line of a stream."""
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


class _Connection:
    """A Seat at the connection of a response whose header has been sent."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        # HTTP/1.0 knows no chunks.
        self._chunked = response.headers.get("Transfer-Encoding") == "chunked"
        self._request = request
        self._authenticator = request.app[AUTHENTICATOR]
        self._caller = caller_of(request)

    def offer(self, chunk: bytes) -> bool:
        # Asked for each time: once the connection is lost there is none, while uvloop's transport
        # of TLS goes on saying that it isn't closing, and takes what it is given.
        transport = self._request.transport
        if (
            transport is None
            or not self._chunked
            or transport.is_closing()
            # What is written within one turn of the loop waits for its end: that isn't slowness.
            or transport.get_write_buffer_size() > LONG
        ):
            return False
        try:
            self._authenticator.recheck(self._caller)
        except HanseError:
            # The reader's own task finds out again, and says so in a last line.
            return False
        try:
            transport.write(chunk)
        except RuntimeError:
            # uvloop's, of a transport that was closed beneath.
            return False
        return True


async def stream_lines(
    request: web.Request, lines: AsyncIterator[bytes | Place], *, patience: float = PATIENCE
) -> web.StreamResponse:
    """Answer with lines (each ending in a newline) until `lines` ends or the reader is gone.

    `lines` must say something at least every ten seconds, if only a bookmark: that is how a dead
    peer and an expired token are noticed.  A HanseError of it becomes a last line
    `{"type": "error", "status", "code", "title"}` (with `oldest` of RevisionCompacted), so check
    beforehand what should be an ordinary answer.
    """
    streams, metrics = request.app[STREAMS], request.app[METRICS]
    response = web.StreamResponse(headers={"Content-Type": NDJSON, "Cache-Control": "no-store"})
    task = streams.enter()
    metrics.gauge(HTTP_STREAMS).inc()
    try:
        # The header goes out before the first line, which may be long in coming.
        await response.prepare(request)
        await _write_all(request, response, lines, patience=patience)
    except ConnectionError:
        log.debug("the reader of a stream left", extra={"request_id": request_id(request)})
    finally:
        metrics.gauge(HTTP_STREAMS).dec()
        streams.leave(task)
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()
    return response


async def stream_parts(
    request: web.Request,
    parts: Iterable[bytes],
    *,
    content_type: str,
    patience: float = PATIENCE,
) -> web.StreamResponse:
    """Answer with a document that comes in parts, no faster than the reader takes them.

    So however many read a large one at once, each costs a piece of it.
    """
    headers = {"Content-Type": content_type, "Cache-Control": "no-store"}
    response = web.StreamResponse(headers=headers)
    try:
        await response.prepare(request)
        for piece in _gathered(parts):
            if not await _write(request, response, piece, patience=patience):
                return response
            if not await _patiently(request, request.writer.drain(), patience=patience):
                return response
        await response.write_eof()
    except ConnectionError:
        log.debug("the reader of a document left", extra={"request_id": request_id(request)})
    return response


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Put small parts together."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= LONG:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


async def _write_all(
    request: web.Request,
    response: web.StreamResponse,
    lines: AsyncIterator[bytes | Place],
    *,
    patience: float,
) -> None:
    caller = caller_of(request)
    authenticator = request.app[AUTHENTICATOR]
    seat = _Connection(request, response)
    try:
        async for each in lines:
            authenticator.recheck(caller)
            if not isinstance(each, bytes):
                if not await _patiently(request, request.writer.drain(), patience=patience):
                    return
                await each.take(seat)
            elif not await _write(request, response, each, patience=patience):
                return
    except HanseError as exc:
        last = {"type": "error", "status": status_of(exc), "code": exc.code, "title": exc.message}
        if isinstance(exc, RevisionCompacted):
            last["oldest"] = exc.oldest
        await _write(request, response, line(last), patience=patience)
    await response.write_eof()


async def _write(
    request: web.Request, response: web.StreamResponse, data: bytes, *, patience: float
) -> bool:
    """Write one line; return False if the reader was too slow and has been cut off.

    A long one goes in pieces: the connection's buffer, which TLS fills with a copy for each
    reader, never holds more than one.
    """
    pieces = (data,) if len(data) <= LONG else _pieces(data)
    for piece in pieces:
        if not await _patiently(request, response.write(piece), patience=patience):
            return False
        if len(data) > LONG and not await _patiently(
            request, request.writer.drain(), patience=patience
        ):
            return False
    return True


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), LONG):
        yield data[start : start + LONG]


async def _patiently(request: web.Request, step: Awaitable[None], *, patience: float) -> bool:
    try:
        async with asyncio.timeout(patience):
            await step
    except TimeoutError:
        request.app[METRICS].counter(HTTP_SLOW_STREAMS).inc()
        log.info("slow reader of a stream cut off", extra={"request_id": request_id(request)})
        if request.transport:
            request.transport.abort()
        return False
    return True
