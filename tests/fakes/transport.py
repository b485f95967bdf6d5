"""A network in memory that delays, cuts, doubles and reorders, by a seed and a virtual clock.

It stands between a follower and whatever serves it, at the level of requests and lines: what
shared.http.peer.PeerClient is over real sockets.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from shared.clock import Clock
from shared.errors import Malformed, Unreachable


class Served(Protocol):
    """A server behind the network."""

    async def get(self, path: str, params: Mapping[str, str]) -> bytes: ...

    async def send(self, method: str, path: str, body: Any) -> bytes: ...

    def stream(
        self, path: str, params: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


@dataclass(frozen=True, slots=True)
class Weather:
    """How likely each fault is, per request or line, and the longest delay in seconds."""

    delay: float = 0.0
    cut: float = 0.0
    doubled: float = 0.0
    swapped: float = 0.0
    lost_answer: float = 0.0


FAIR = Weather()


@dataclass(frozen=True, slots=True)
class FakeAnswer:
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body or b"null")


class FakeTransport:
    """Implements shared.feed.follow.Transport.

    `server` returns the server of now (another one after a restart), or None while none is there.
    """

    def __init__(
        self,
        server: Callable[[], Served | None],
        *,
        source: random.Random,
        clock: Clock,
        weather: Weather = FAIR,
    ) -> None:
        self.weather = weather
        self.requests: list[str] = []
        self._server = server
        self._source = source
        self._clock = clock

    async def get(self, path: str, *, params: Mapping[str, str] | None = None) -> FakeAnswer:
        self.requests.append(f"GET {path}")
        server = await self._reach(path)
        answer = await server.get(path, params or {})
        return await self._return(answer)

    async def put(self, path: str, body: Any) -> FakeAnswer:
        return await self._send("PUT", path, body)

    async def post(self, path: str, body: Any) -> FakeAnswer:
        return await self._send("POST", path, body)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None
    ) -> AsyncIterator[AsyncIterator[Any]]:
        assert method == "GET"
        self.requests.append(f"STREAM {path}")
        server = await self._reach(path)
        async with server.stream(path, params or {}) as lines:
            yield self._carried(lines, server)

    async def _send(self, method: str, path: str, body: Any) -> FakeAnswer:
        self.requests.append(f"{method} {path}")
        server = await self._reach(path)
        answer = await server.send(method, path, orjson.loads(orjson.dumps(body)))
        return await self._return(answer)

    async def _reach(self, path: str) -> Served:
        await self._delay()
        server = self._server()
        if server is None or self._happens(self.weather.cut):
            raise Unreachable(f"no way to {path}")
        return server

    async def _return(self, answer: bytes) -> FakeAnswer:
        await self._delay()
        if self._happens(self.weather.lost_answer):
            raise Unreachable("the answer was lost")
        return FakeAnswer(answer)

    async def _carried(self, batches: AsyncIterator[bytes], server: Served) -> AsyncIterator[Any]:
        held: Any = None
        async for batch in batches:
            for line in batch.splitlines():
                if self._server() is not server or self._happens(self.weather.cut):
                    raise Unreachable("the stream broke off")
                document = _parse(line)
                await self._delay()
                if held is None and self._happens(self.weather.swapped):
                    held = document
                    continue
                yield document
                if self._happens(self.weather.doubled):
                    yield document
                if held is not None:
                    late, held = held, None
                    yield late

    async def _delay(self) -> None:
        if self.weather.delay:
            await self._clock.sleep(self._source.uniform(0.0, self.weather.delay))

    def _happens(self, likelihood: float) -> bool:
        return likelihood > 0 and self._source.random() < likelihood


def _parse(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except ValueError as exc:
        raise Malformed("a line is not JSON") from exc
