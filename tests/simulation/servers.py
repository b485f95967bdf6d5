"""Servers' APIs as further processes of a simulated federation: all of aiohttp, but no sockets.

Each is one more process on the store of the FSM or of a site.  Requests and answers are the bytes
of HTTP, read and written by the product's own protocol; only what carries them is in memory, and
what OpenSSL says of a client's certificate is taken as said.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import orjson
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from fsm.feed import handlers as feed_handlers
from fsm.feed.acks import SiteVoices
from fsm.feed.hub import Hub
from fsm.feed.service import Feed
from fsm.tasks.tidy import Tidy
from sdsp.tasks.register import KeepRegister
from shared.auth.providers.contract import Person, ProviderName
from shared.backoff import Backoff
from shared.enrolment.revocations import Revocations
from shared.http.connections import Connection, ConnectionLimits, Connections
from shared.login.authentication import Authenticated
from shared.login.sessions import Asked, Opened
from shared.metrics.names import Metrics
from shared.model.kinds import Home
from shared.objects.admission import AdmissionChain
from shared.objects.api import Parts, Services, Tokens, Trust, create_api, create_services
from shared.pki.certificates import Certificate
from shared.pki.identity import TrustDomain
from shared.store.sql import SqlStore
from shared.tasks.group import Group
from shared.tasks.loop import Loop
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.machine import Machine
from tests.simulation.world import World

TRUST_DOMAIN: Final = TrustDomain("hanse.example")
_NUMBERS: Final = itertools.count(1)


class Shown:
    """What ssl.SSLObject says of a client that has shown a certificate, its chain verified."""

    def __init__(self, chain: Sequence[Certificate]) -> None:
        self._chain = [each.public_bytes(Encoding.DER) for each in chain]

    def getpeercert(self, binary_form: bool = False) -> bytes:
        assert binary_form
        return self._chain[0]

    def get_verified_chain(self) -> list[bytes]:
        return self._chain


class Carrier(asyncio.Transport):
    """One end of a connection in memory: its bytes arrive at the other end in order, and later."""

    def __init__(
        self, process: Process, source: random.Random, shown: Shown | None = None, address: str = ""
    ) -> None:
        super().__init__()
        self.process = process
        self.other: Carrier = self
        self._loop = cast("SimulatedLoop", asyncio.get_running_loop())
        self._source = source
        self._shown = shown
        self._address = address
        self._protocol: Any = None
        self._arrives_at = 0.0
        self._closing = False
        self._waiting: list[Callable[[], None]] | None = None

    def connect(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        if not self._closing and data:
            self._send(self.other._receive, bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._send(self.other._lose)
            self._loop.call_soon(self._lost, context=self.process.context.copy())

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self._waiting = self._waiting or []

    def resume_reading(self) -> None:
        waiting, self._waiting = self._waiting or [], None
        for each in waiting:
            self._loop.call_soon(each, context=self.process.context.copy())

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Whatever is written is on its way at once."""

    def get_write_buffer_size(self) -> int:
        return 0

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", self._protocol)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"peername": (self._address, 4711), "ssl_object": self._shown}
        return known.get(name, default)

    def _send(self, to: Callable[..., None], *arguments: Any) -> None:
        # Two timers of one time would come in any order.
        soonest = self._loop.time() + self._source.uniform(0.001, 0.05)
        self._arrives_at = max(self._arrives_at + 1e-6, soonest)
        context = self.other.process.context.copy()
        self._loop.call_at(self._arrives_at, to, *arguments, context=context)

    def _receive(self, data: bytes) -> None:
        if self._waiting is not None:
            self._waiting.append(lambda: self._receive(data))
        elif self._protocol is not None and not self._closing:
            self._protocol.data_received(data)

    def _lose(self) -> None:
        if self._waiting is not None:
            self._waiting.append(self._lose)
        elif not self._closing:
            self._closing = True
            self._lost()

    def _lost(self) -> None:
        if self._protocol is not None:
            self._protocol.connection_lost(None)


class Answer(asyncio.Protocol):
    """What comes back over one connection: the head, then bytes until it is closed."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self.begun: asyncio.Future[int] = loop.create_future()
        self.over: asyncio.Future[float] = loop.create_future()
        self.data = b""
        self.told_at = 0.0
        """When something came last."""

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.told_at = self._loop.time()
        if not self.begun.done() and b"\r\n\r\n" in self.data:
            self.begun.set_result(int(self.data.split(b" ", 2)[1]))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.begun.done():
            self.begun.set_result(0)
        if not self.over.done():
            self.over.set_result(self._loop.time())

    @property
    def body(self) -> bytes:
        """What came after the head; of chunks, those that are whole."""
        head, _, rest = self.data.partition(b"\r\n\r\n")
        if b"\r\nTransfer-Encoding: chunked" not in head:
            return rest
        found = b""
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            found, rest = found + rest[:length], rest[length + 2 :]
        return found


@dataclass
class ApiServer:
    """One process that serves an API; made by serve()."""

    home: Home
    machine: Machine
    process: Process
    store: SqlStore
    services: Services
    revocations: Revocations
    connections: Connections
    source: random.Random
    inner: Callable[[], asyncio.Protocol]
    held: AsyncExitStack = field(default_factory=AsyncExitStack)
    """What a test keeps open in it."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Any = None,
        shown: Shown | None = None,
        address: str = "192.0.2.7",
    ) -> tuple[int, Any]:
        """Return the status and the document of an answer; 0 if there is none."""
        answer = self.send(method, path, token=token, body=body, shown=shown, address=address)
        await answer.over
        return answer.begun.result(), orjson.loads(answer.body or b"null")

    def send(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Any = None,
        shown: Shown | None = None,
        address: str = "192.0.2.7",
    ) -> Answer:
        """Send a request over a connection of its own."""
        sent = b"" if body is None else orjson.dumps(body)
        head = [f"{method} {path} HTTP/1.1", "Host: hanse.example", "Connection: close"]
        if token is not None:
            head.append(f"Authorization: Bearer {token}")
        if body is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(sent)}"]
        here = Carrier(self.machine.loop.world, self.source)
        there = Carrier(self.process, self.source, shown, address)
        here.other, there.other = there, here
        answer = Answer()
        here.connect(answer)

        def accept() -> None:
            there.connect(Connection(self.inner(), connections=self.connections))

        self.machine.loop.call_soon(accept, context=self.process.context.copy())
        here.write("\r\n".join([*head, "", ""]).encode() + sent)
        return answer

    async def login(self, username: str, *roles: str, provider: ProviderName) -> Opened:
        """Open a login of somebody for whom a provider has just vouched."""
        person = Person(username, username.title(), frozenset(), provider)
        who = Authenticated(person, roles=roles)
        return await self.services.logins.sessions.open(who, Asked("request", "192.0.2.7"))


async def serve(world: World, machine: Machine, *, home: Home, data: Path) -> ApiServer:
    """Start one more process of a machine's server; return it once it serves.

    `data` is the server's folder of keys, which its processes share.
    """
    process = Process(f"{machine.name} api {next(_NUMBERS)}")
    process.machine = machine
    ready: asyncio.Future[ApiServer] = world.loop.create_future()
    world.loop.start(process, _run(process, machine, home, data, ready), name=process.name)
    return await ready


async def in_process(server: ApiServer, work: Coroutine[Any, Any, Any]) -> Any:
    """Have something done by a server's process."""
    return await server.machine.loop.start(server.process, work)


async def _run(
    process: Process, machine: Machine, home: Home, data: Path, ready: asyncio.Future[ApiServer]
) -> None:
    clock, source = machine.clock, random.Random(machine.source.random())
    store = machine.disk.open(clock=clock, source=source)
    revocations, metrics = Revocations(), Metrics()
    hub = Hub(store, clock=clock, backoff=Backoff(first=0.2, longest=10.0, source=source))
    trust = Trust(domain=TRUST_DOMAIN, revoked=revocations)
    parts = Parts(
        home=home,
        store=store,
        admission=AdmissionChain(),
        tokens=Tokens(data=data, server=f"spiffe://{machine.name}.{TRUST_DOMAIN}/sdsp"),
        trust=trust,
        clock=clock,
        metrics=metrics,
        routes=[feed_handlers.routes] if home == "fsm" else [],
    )
    services = create_services(parts)
    app = create_api(parts, services)
    runner = web.AppRunner(app, access_log=None)
    async with Group() as group:
        # As fsm.app and sdsp.app start them.
        if home == "fsm":
            app[feed_handlers.FEED], app[feed_handlers.HUB] = Feed(store, hub), hub
            app[feed_handlers.VOICES] = SiteVoices(store, clock=clock)
            group.start(hub.run(), name="feed hub")
            await hub.started()
        follow = revocations.follow(
            store, clock=clock, backoff=Backoff(first=0.2, longest=10.0, source=source)
        )
        group.start(follow, name="follow the revocations")
        keeper = (
            Tidy(store, revocations, clock=clock)
            if home == "fsm"
            else KeepRegister(store, revocations, clock=clock)
        )
        backoff = Backoff(first=0.2, longest=10.0, source=source)
        loop = Loop(keeper, period=15.0, settle=0.0, backoff=backoff, clock=clock)
        group.start(loop.run(), name=keeper.name)
        await runner.setup()
        assert runner.server is not None
        connections = Connections(limits=ConnectionLimits(), metrics=metrics)
        found = ApiServer(
            home,
            machine,
            process,
            store,
            services,
            revocations,
            connections,
            source,
            cast("Callable[[], asyncio.Protocol]", runner.server),
        )
        ready.get_loop().call_soon(
            ready.set_result, found, context=machine.loop.world.context.copy()
        )
        await asyncio.Event().wait()
