"""The whole road in one process: a real FSM, the SDSP of a site, a node's agent; real TLS between.

The site reaches its FSM by a wire that can be cut, or fall silent with its sockets open.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from dsn.app import Agent
from dsn.settings import DSNSettings, Files, load_identity
from dsn.upstream.joining import join_site as join_node
from sdsp.app import Site, running
from sdsp.settings import Listen, SDSPSettings
from sdsp.upstream.enroll import SiteCredentials, join_federation
from shared.auth.passwords import Passwords
from shared.cli.client import Client
from shared.cli.demo.relay import Relay
from shared.objects.accounts import create_account
from shared.pki.certificates import certificates_to_pem
from shared.store.sql import open_store
from shared.tasks.group import Group
from tests.integration.fsm.harness import FSM, PASSWORD, Person, ShiftedClock
from tests.servers import free_port

NAMES = ["localhost", "127.0.0.1", "::1"]
MANDATORY = {
    "enforcement": "mandatory",
    "rules": [{"name": "in", "from": "any", "to": [{"network": "A"}], "action": "allow"}],
}


class HurriedClock(ShiftedClock):
    """A clock whose waits take a tenth: silence of 25 s is noticed after 2.5.

    `monotonic_ahead` is what has passed besides, in seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.monotonic_ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.monotonic_ahead

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        return await super().wait(event, None if seconds is None else seconds / 10)


class Wire(Relay):
    """A wire that can also fall silent: nothing passes, and both ends look open."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._flowing = asyncio.Event()
        self._flowing.set()

    def silence(self) -> None:
        self._flowing.clear()

    def cut(self) -> None:
        super().cut()
        self._flowing.set()

    def mend(self) -> None:
        super().mend()
        self._flowing.set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await super()._pass(_Held(reader, self._flowing), writer)


class _Held(asyncio.StreamReader):
    """Gives what it has read only while the wire flows."""

    def __init__(self, reader: asyncio.StreamReader, flowing: asyncio.Event) -> None:
        super().__init__()
        self._real, self._flowing_now = reader, flowing

    async def read(self, n: int = -1) -> bytes:
        data = await self._real.read(n)
        await self._flowing_now.wait()
        return data


@dataclass
class RoadSite:
    """One site's SDSP that can be stopped and started again, and what its people see."""

    name: str
    data: Path
    clock: ShiftedClock
    wire: Wire
    ca: str
    settings: SDSPSettings
    running: Site | None = None
    client: Client | None = None
    nodes: dict[str, asyncio.Event] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.settings.listen.port}"

    @property
    def api(self) -> Client:
        assert self.client is not None
        return self.client

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Site]:
        """Run the SDSP, with its administrator logged in."""
        async with running(
            self.settings, self.data, clock=self.clock, source=random.Random(1)
        ) as started:
            self.running = started
            async with Client(self.url, ca=self.ca) as self.client:
                await self.client.login("admin", PASSWORD)
                yield started

    async def put(self, kind: str, name: str, spec: Any, **metadata: Any) -> None:
        await self.api.put(document(kind, name, spec, **metadata))

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask for the site's status until it is so; pytest-timeout ends a wait for ever."""
        while not holds(status := await self.api.status()):
            pass
        return status

    async def heard(self, federation: FSM) -> dict[str, Any]:
        """Wait until the site has taken over all that the FSM has."""
        revision = (await federation.running.store.position()).revision
        return await self.until(lambda status: revision_of(status) >= revision)

    async def node(self, name: str) -> dict[str, Any]:
        (found,) = [each for each in (await self.api.status())["nodes"] if each["name"] == name]
        return dict(found)

    async def until_node(self, name: str, **wanted: Any) -> dict[str, Any]:
        while True:
            found = await self.node(name)
            if wanted.items() <= found.items():
                return found

    async def join_node(self, name: str, data: Path, *, replace: bool = False) -> None:
        token = await self.api.join_token("Node", name, replace=replace)
        await join_node([self.url], token.text, data, overwrite=replace)

    @asynccontextmanager
    async def agent(self, data: Path, *, clock: ShiftedClock | None = None) -> AsyncIterator[Agent]:
        """Run a node's agent on the simulated data plane."""
        identity = load_identity(data)
        agent = Agent(
            identity=identity,
            files=Files.of(data),
            settings=DSNSettings(data_plane="memory"),
            clock=clock or self.clock,
            source=random.Random(2),
        )
        stop = asyncio.Event()
        async with Group() as group:
            running = group.start(agent.run(stop), name=f"agent of {identity.node}")
            yield agent
            stop.set()
            await running

    async def populate(self, node: str = "node-1") -> None:
        """Define network A, and a workload in it behind a node."""
        await self.put("Network", "A", {"subnets": ["10.0.0.0/24"]})
        await self.put("Node", node, {})
        await self.put("Workload", "w1", {"addresses": ["10.0.0.5"], "node": node})


def revision_of(status: dict[str, Any]) -> int:
    """Return the FSM's revision that a site's status says it has."""
    position = status["upstream"]["position"]
    return int(position["revision"]) if position else 0


def document(kind: str, name: str, spec: Any, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hanse/v1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


async def declare(admin: Person, *, site: str = "sfo") -> None:
    """Declare the site, network A, and a mandatory policy p that lets everybody reach A."""
    await admin.put("sites", site, {"serverNames": NAMES}, labels={"env": "prod"})
    await admin.put("networks", "A", {})
    await admin.put("securitypolicies", "p", MANDATORY)


@asynccontextmanager
async def joined(
    folder: Path, fsm: FSM, *, name: str = "sfo", clock: ShiftedClock | None = None
) -> AsyncIterator[RoadSite]:
    """Let a declared site join a serving FSM; it isn't running yet."""
    clock = clock or ShiftedClock()
    wire = Wire(fsm.settings.listen.port)
    await wire.start()
    try:
        data = folder / name
        data.mkdir(mode=0o700)
        settings = SDSPSettings(
            site=name,
            upstream=(f"https://127.0.0.1:{wire.port}",),
            listen=Listen(port=free_port()),
        )
        store = await open_store(settings.database_url(data), clock=clock, create=True)
        passwords = Passwords()
        await create_account(store, "admin", PASSWORD, passwords=passwords, clock=clock)
        passwords.close()
        await store.close()
        token = await fsm.admin().token(name)
        await join_federation(SiteCredentials.beneath(data), fsm.url, token, clock=clock)
        roots = certificates_to_pem(fsm.roots)
        yield RoadSite(name, data, clock, wire, roots, settings)
    finally:
        await wire.close()


def behind(**ago: float) -> ShiftedClock:
    """Return a clock that is behind the machine's."""
    clock = ShiftedClock()
    clock.ahead = -timedelta(**ago)
    return clock
