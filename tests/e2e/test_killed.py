"""kill -9 in the middle of changes: what was acknowledged is there, and sites have all of it once."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fsm.settings import Listen
from sdsp.settings import FILE
from shared.cli.client import Client
from shared.cli.setup import store_settings
from shared.errors import HanseError
from shared.pki.certificates import certificates_to_pem
from shared.tasks.group import Group
from tests.e2e.hosts import Host, Running
from tests.integration.fsm.harness import FSM, PASSWORD
from tests.integration.road.world import declare, document, joined
from tests.servers import free_port

WRITERS = 4
KILLS = 2
BETWEEN = 15
"""Acknowledged writes between two kills."""


class Killable:
    """A server that is killed and started again, and those who write to it meanwhile."""

    def __init__(self, host: Host, program: str, data: Path, url: str, ca: str) -> None:
        self._start: Callable[[], Running] = lambda: host.start(
            program, "serve", "--data", str(data)
        )
        self._url, self._ca = url, ca
        self._running: Running | None = None
        self.acknowledged: dict[str, int] = {}
        self._news = asyncio.Event()
        self._up = asyncio.Event()

    async def start(self) -> None:
        self._running = self._start()
        await asyncio.to_thread(self._running.until, "serving at")
        self._up.set()

    async def kill(self) -> None:
        assert self._running is not None
        self._up.clear()
        status = await asyncio.to_thread(self._running.end, signal.SIGKILL)
        assert status == -signal.SIGKILL

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with Client(self._url, ca=self._ca) as client:
            await client.login("admin", PASSWORD)
            yield client

    async def write(self, writer: int, token: str) -> None:
        """Write one object after another, and note which were acknowledged, until cancelled."""
        async with Client(self._url, ca=self._ca, token=token) as client:
            for number in itertools.count():
                await self._up.wait()
                name = f"net-{writer}-{number}"
                spec = {"subnets": [f"10.{writer}.{number % 256}.0/24"]}
                try:
                    put = await client.put(document("Network", name, spec))
                except HanseError:
                    continue  # killed meanwhile: it may be there or not
                self.acknowledged[name] = put.revision
                self._news.set()

    async def until_acknowledged(self, count: int) -> None:
        while len(self.acknowledged) < count:
            self._news.clear()
            await self._news.wait()


async def killed_again_and_again(server: Killable) -> None:
    """Kill a server in the middle of writes, and hold what is there against what it had said."""
    await server.start()
    async with server.client() as client:
        token = client.token or ""
    async with Group() as group:
        for writer in range(WRITERS):
            group.start(server.write(writer, token), name=f"writer {writer}")
        for _ in range(KILLS):
            await server.until_acknowledged(len(server.acknowledged) + BETWEEN)
            await server.kill()
            said = dict(server.acknowledged)
            await server.start()
            async with server.client() as client:
                there = {each.name: each.revision async for each in client.list("Network")}
                assert {name: there.get(name) for name in said} == said
                newest = (await client.put(document("Network", "probe", {}))).revision
                assert newest > max(said.values()), "the revision never falls"
                await client.delete("Network", "probe")


@pytest.fixture
def host(tmp_path: Path) -> Any:
    (home := tmp_path / "home").mkdir()
    host = Host(home)
    yield host
    host.end()


async def test_a_killed_fsm_has_all_that_it_acknowledged(stopped: FSM, host: Host) -> None:
    port = free_port()
    store_settings(stopped.data / FILE, {"listen": {"host": "127.0.0.1", "port": port}})
    root = certificates_to_pem(stopped.roots)
    await killed_again_and_again(
        Killable(host, "fsm", stopped.data, f"https://127.0.0.1:{port}", root)
    )


async def test_a_killed_sdsp_has_all_that_it_acknowledged_and_each_of_the_fsms_changes_once(
    stopped: FSM, host: Host, tmp_path: Path
) -> None:
    stopped.settings = stopped.settings.model_copy(update={"listen": Listen(port=free_port())})
    async with stopped.serving():
        admin = stopped.admin()
        await declare(admin)
        async with joined(tmp_path, stopped) as site:
            values = site.settings.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            store_settings(site.data / FILE, values)
            server = Killable(host, "sdsp", site.data, site.url, site.ca)

            async def change() -> None:
                for number in itertools.count():
                    # As fast as the site's own people write, so that both are under way at a kill.
                    await server.until_acknowledged(len(server.acknowledged) + 1)
                    await admin.put("networks", f"global-{number}", {"subnets": ["192.0.2.0/24"]})
                    await admin.put("networks", "A", {}, labels={"number": str(number)})

            async with Group() as group:
                changing = group.start(change(), name="change")
                await killed_again_and_again(server)
                changing.cancel()
                await asyncio.wait([changing])

            await admin.put("networks", "last", {"subnets": ["192.0.2.0/24"]})
            async with server.client() as client, Client(stopped.url, ca=site.ca) as above:
                await above.login("admin", PASSWORD)
                wanted = {
                    each.name: (dict(each.spec), dict(each.labels))
                    async for each in above.list("Network")
                }
                found: dict[str, Any] = {}
                while "last" not in found:
                    found = {
                        each.name: (dict(each.spec), dict(each.labels))
                        async for each in client.list("Network", scope="federation")
                    }
                assert found == wanted
                # Each is there once, and was taken over once for each change that there was.
                history = [
                    each async for each in client.history("Network", "global-0", scope="federation")
                ]
                assert len(history) == 1
