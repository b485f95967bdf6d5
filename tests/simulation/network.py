"""A network in memory between machines: it delays, cuts, breaks, doubles, swaps and loses.

It carries what shared.http.peer.PeerClient and the server's handlers exchange: requests and their
answers, and streams of lines.  A cut way swallows everything: who asks finds out by his own time
limit, and a stream's lines wait for the way to heal, as a kernel sends them again, unless the
connection is found dead by then.  A killed program's kernel tells the other end, if it can.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from shared.errors import HanseError, Malformed, Unreachable
from shared.http.statuses import error_of, status_of
from tests.simulation.history import History
from tests.simulation.loop import Process, SimulatedLoop

TOTAL: Final = 30.0
"""Seconds that a request may take; as PeerLimits has it."""
SILENCE: Final = 30.0
"""Seconds that a stream may be silent; as PeerLimits has it."""
PATIENCE: Final = 10.0
"""Seconds that a server waits for a reader who doesn't read; as shared.http.ndjson has it."""
WINDOW: Final = 32
"""Lines on their way before a server waits for the reader."""


class Served(Protocol):
    """A program that answers; `peer` is who asks, as his certificate would say."""

    async def call(
        self, peer: str, method: str, path: str, params: Mapping[str, str], body: Any
    ) -> bytes: ...

    def stream(
        self, peer: str, path: str, params: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


@dataclass(slots=True)
class Weather:
    """The longest usual delay in seconds, and how likely each fault is, per message."""

    delay: float = 0.02
    lost: float = 0.0
    doubled: float = 0.0
    swapped: float = 0.0


class Way:
    """One direction between two machines."""

    def __init__(self, source: random.Random, weather: Weather) -> None:
        self.source = source
        self.weather = weather
        self.is_cut = False

    def delay(self) -> float:
        if self.source.random() < 0.03:
            return self.source.uniform(0.0, 20 * self.weather.delay)
        return self.source.uniform(0.0, self.weather.delay)

    def happens(self, likelihood: float) -> bool:
        return likelihood > 0 and self.source.random() < likelihood


class Link:
    """Both ways between the machine of a client and that of a server."""

    def __init__(self, client: str, server: str, source: random.Random, weather: Weather) -> None:
        self.client = client
        self.server = server
        self.up = Way(source, weather)
        self.down = Way(source, weather)
        self.streams: list[Stream] = []

    @property
    def is_whole(self) -> bool:
        return not (self.up.is_cut or self.down.is_cut)


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body or b"null")


@dataclass(slots=True, eq=False)
class _Server:
    process: Process
    served: Served
    waiting: list[tuple[Link, "asyncio.Future[bytes]"]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request on its way."""

    method: str
    path: str
    params: Mapping[str, str]
    sent: bytes


class Network:
    def __init__(self, loop: SimulatedLoop, seed: object, history: History) -> None:
        self.loop = loop
        self.history = history
        self.usual = Weather()
        """Of links that are used for the first time."""
        self._seed = seed
        self._links: dict[tuple[str, str], Link] = {}
        self._servers: dict[str, _Server] = {}

    @property
    def links(self) -> list[Link]:
        return list(self._links.values())

    def link(self, client: str, server: str) -> Link:
        names = client, server
        if names not in self._links:
            source = random.Random(f"{self._seed} {names}")
            self._links[names] = Link(client, server, source, self.usual)
        return self._links[names]

    def listen(self, name: str, process: Process, served: Served) -> None:
        server = _Server(process, served)
        self._servers[name] = server

        def killed() -> None:
            if self._servers.get(name) is server:
                del self._servers[name]
            for link in self._links.values():
                if link.server != name:
                    continue
                for stream in [each for each in link.streams if each.server is process]:
                    stream.reset_by_server()
            for link, reply in server.waiting:
                self._break_off(link, reply)

        process.on_kill.append(killed)

    def client(self, process: Process, client: str, server: str) -> "Client":
        return Client(self, process, self.link(client, server))

    def find(self, name: str) -> _Server | None:
        return self._servers.get(name)

    def carry(self, way: Way, deliver: Callable[[], None], *, extra: float = 0.0) -> None:
        """Deliver a message after a while, or not at all."""
        self.history.count("messages")
        if way.happens(way.weather.lost):
            self.history.count("lost")
            return
        times = 2 if way.happens(way.weather.doubled) else 1
        self.history.count("doubled", times - 1)

        def arrive() -> None:
            if way.is_cut:
                self.history.count("swallowed")
            else:
                deliver()

        for _ in range(times):
            self.loop.call_later(extra + way.delay(), arrive, context=self.loop.world.context)

    def _break_off(self, link: Link, reply: "asyncio.Future[bytes]") -> None:
        self.carry(link.down, lambda: _refuse(reply, "the connection broke off"))

    def heal(self, link: Link) -> None:
        """Open both ways; of the streams that stood over them some turn out to be dead."""
        link.up.is_cut = link.down.is_cut = False
        for stream in list(link.streams):
            if link.down.source.random() < 0.5:
                stream.reset_by_server()
                stream.left()
            else:
                stream.send_again()


class Client:
    """One program's connections to one server; as shared.http.peer.PeerClient."""

    def __init__(self, network: Network, process: Process, link: Link) -> None:
        self._network = network
        self._process = process
        self._link = link

    async def get(self, path: str, *, params: Mapping[str, str] | None = None) -> Answer:
        return await self.request("GET", path, params=params)

    async def put(self, path: str, body: Any) -> Answer:
        return await self.request("PUT", path, body=body)

    async def post(self, path: str, body: Any) -> Answer:
        return await self.request("POST", path, body=body)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Answer:
        network, link = self._network, self._link
        reply: asyncio.Future[bytes] = network.loop.create_future()
        sent = orjson.dumps(body)

        def arrive() -> None:
            server = network.find(link.server)
            if server is None:
                network.carry(link.down, lambda: _refuse(reply, "nobody listens"))
                return
            server.waiting.append((link, reply))
            asked = _Asked(method, path, dict(params or {}), sent)
            work = self._answer(server, asked, reply)
            network.loop.start(server.process, work, name=f"{method} {path}")

        network.carry(link.up, arrive)
        try:
            async with asyncio.timeout(TOTAL):
                return Answer(await reply)
        except TimeoutError as exc:
            raise Unreachable(f"{link.server} does not answer: it took too long") from exc

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None
    ) -> AsyncIterator[AsyncIterator[Any]]:
        assert method == "GET"
        stream = Stream(self._network, self._link, self._process)
        stream.open(path, dict(params or {}))
        try:
            try:
                async with asyncio.timeout(SILENCE):
                    await stream.accepted
            except TimeoutError as exc:
                raise Unreachable(f"{self._link.server} does not answer") from exc
            yield stream.lines()
        finally:
            stream.left_by_client()

    async def _answer(
        self,
        server: _Server,
        asked: "_Asked",
        reply: "asyncio.Future[bytes]",
    ) -> None:
        network = self._network
        try:
            body = await server.served.call(
                self._link.client,
                asked.method,
                asked.path,
                asked.params,
                orjson.loads(asked.sent),
            )
        except HanseError as exc:
            error = problem(exc)
            network.history.count(f"answered {exc.code}")
            network.carry(self._link.down, lambda: _fail(reply, error()))
        except Exception as exc:
            network.loop.on_fault(exc)
            raise
        else:
            network.carry(self._link.down, lambda: _succeed(reply, body))
        server.waiting.remove((self._link, reply))


class Stream:
    """One open stream, seen from both ends."""

    def __init__(self, network: Network, link: Link, client: Process) -> None:
        self.client = client
        self.server: Process | None = None
        self.accepted: asyncio.Future[None] = network.loop.create_future()
        self._network = network
        self._link = link
        self._arrived: deque[bytes | HanseError | None] = deque()
        self._news = asyncio.Event()
        self._on_the_way: deque[bytes | HanseError | None] = deque()
        self._moving = False
        self._room = asyncio.Event()
        self._held: bytes | None = None
        self._client_gone = False
        self._server_gone = False
        self._task: asyncio.Task[Any] | None = None

    def open(self, path: str, params: Mapping[str, str]) -> None:
        def arrive() -> None:
            found = self._network.find(self._link.server)
            if found is None:
                self._network.carry(
                    self._link.down, lambda: self._refused(Unreachable("nobody listens"))
                )
                return
            if self.server is not None:
                return  # doubled: TCP would see to it
            self.server = found.process
            self._link.streams.append(self)
            self.client.on_kill.append(self.left_by_client)
            work = self._serve(found.served, path, params)
            self._task = self._network.loop.start(found.process, work, name=f"stream {path}")

        self._network.carry(self._link.up, arrive)

    async def lines(self) -> AsyncIterator[Any]:
        """Yield what arrives, until the server ends the stream; Unreachable if it breaks."""
        while True:
            while not self._arrived:
                self._news.clear()
                try:
                    async with asyncio.timeout(SILENCE):
                        await self._news.wait()
                except TimeoutError as exc:
                    raise Unreachable("the stream was silent for too long") from exc
            item = self._arrived.popleft()
            if isinstance(item, HanseError):
                raise item
            if item is None:
                return
            yield _parse(item)

    def left_by_client(self) -> None:
        """The client's end is closed; the server hears of it, if it can."""
        if not self._client_gone:
            self._client_gone = True
            self._network.carry(self._link.up, self.left)

    def left(self) -> None:
        """Let the server know that nobody reads any more."""
        self._server_gone = True
        self._room.set()
        if self in self._link.streams:
            self._link.streams.remove(self)

    def reset_by_server(self) -> None:
        """The server's end is gone; the client hears of it, if it can."""
        self._server_gone = True
        self._on_the_way.clear()

        def broken() -> None:
            error = Unreachable("the connection broke off")
            self._refused(error)
            self._arrive(error)

        self._network.carry(self._link.down, broken)

    def send_again(self) -> None:
        if not self._moving and self._on_the_way:
            self._move()

    async def _serve(self, served: Served, path: str, params: Mapping[str, str]) -> None:
        try:
            async with served.stream(self._link.client, path, params) as lines:
                self._network.carry(self._link.down, self._accept)
                try:
                    await self._write_all(lines)
                finally:
                    if isinstance(lines, AsyncGenerator):
                        await lines.aclose()
        except HanseError as exc:
            error = problem(exc)
            self._network.carry(self._link.down, lambda: self._refused(error()))
            self.left()
        except Exception as exc:
            self._network.loop.on_fault(exc)
            raise

    async def _write_all(self, batches: AsyncIterator[bytes]) -> None:
        last: HanseError | None = None
        try:
            rest = b""
            async for batch in batches:
                *lines, rest = (rest + batch).split(b"\n")
                for line in lines:
                    if not await self._write(line):
                        return
        except HanseError as exc:
            last = exc
        if last is not None:
            said = {"type": "error", "status": status_of(last), "code": last.code, "title": ""}
            await self._write(orjson.dumps(said))
        await self._write(None)

    async def _write(self, line: bytes | None) -> bool:
        """Send a line; return False if nobody reads."""
        way = self._link.down
        while len(self._on_the_way) >= WINDOW and not self._server_gone:
            self._room.clear()
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._room.wait()
            except TimeoutError:
                self._network.history.count("slow readers cut off")
                self.reset_by_server()
                self.left()
                return False
        if self._server_gone:
            return False
        if line is not None and self._held is None and way.happens(way.weather.swapped):
            self._held = line
            return True
        if line is not None and way.happens(way.weather.lost):
            self._network.history.count("lines lost")
        else:
            self._send(line)
        if self._held is not None and line is not None:
            self._network.history.count("lines swapped")
            late, self._held = self._held, None
            self._send(late)
        return True

    def _send(self, line: bytes | None) -> None:
        way = self._link.down
        self._network.history.count("lines")
        self._on_the_way.append(line)
        if line is not None and way.happens(way.weather.doubled):
            self._network.history.count("lines doubled")
            self._on_the_way.append(line)
        self.send_again()

    def _move(self) -> None:
        """Bring the first line that is on its way to its end; then the next."""
        self._moving = True

        def arrive() -> None:
            self._moving = False
            if self._link.down.is_cut or not self._on_the_way:
                return  # it waits for the way to heal, or the connection was broken
            self._arrive(self._on_the_way.popleft())
            self._room.set()
            self.send_again()

        delay = self._link.down.delay()
        self._network.loop.call_later(delay, arrive, context=self._network.loop.world.context)

    def _arrive(self, item: bytes | HanseError | None) -> None:
        self._arrived.append(item)
        self._news.set()

    def _accept(self) -> None:
        if not self.accepted.done():
            self.accepted.set_result(None)

    def _refused(self, error: HanseError) -> None:
        if not self.accepted.done():
            self.accepted.set_exception(error)
            # Whoever waited may be gone.
            self.accepted.exception()


def problem(error: HanseError) -> Callable[[], HanseError]:
    """Return what makes the error that a peer reads from this one's problem document."""
    document = {"title": error.message, "code": error.code}
    if (oldest := getattr(error, "oldest", None)) is not None:
        document["oldest"] = oldest
    if retry_after := getattr(error, "retry_after", None):
        return lambda: error_of(status_of(error), document, retry_after=retry_after)
    return lambda: error_of(status_of(error), document)


def _parse(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except ValueError as exc:
        raise Malformed("a line is not JSON") from exc


def _refuse(reply: "asyncio.Future[bytes]", why: str) -> None:
    _fail(reply, Unreachable(f"no answer: {why}"))


def _fail(reply: "asyncio.Future[bytes]", error: HanseError) -> None:
    if not reply.done():
        reply.set_exception(error)
        # Whoever waited may be gone.
        reply.exception()


def _succeed(reply: "asyncio.Future[bytes]", body: bytes) -> None:
    if not reply.done():
        reply.set_result(body)
