"""Two FSM processes in one folder and on one PostgreSQL, one of which is killed with -9 meanwhile:
issuing CA and root are exchanged, nothing is lost, and no handshake fails.

The FSMs are processes; sites, nodes and their TLS are real, in the test's own.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fsm.settings import Listen
from fsm.trust import FSMCredentials
from shared.auth.passwords import Passwords
from shared.cli.client import Client
from shared.errors import Unreachable
from shared.failpoints import EXIT_STATUS, VARIABLE
from shared.http.peer import PeerClient
from shared.objects.accounts import create_account
from shared.pki.certificates import certificates_to_pem, fingerprint_of, serial_of
from shared.pki.tls import visitor_context
from shared.store.sql import open_store
from shared.tasks.group import Group
from tests.fixtures_postgres import postgres, postgres_url
from tests.integration.fsm.conftest import stopped, template
from tests.integration.fsm.harness import FSM, PASSWORD, Person
from tests.integration.pki.test_exchange import BROKEN_HANDSHAKES, World, codes
from tests.integration.road.world import HurriedClock, RoadSite, declare, joined
from tests.servers import free_port

__all__ = ["postgres", "postgres_url", "stopped", "template"]

pytestmark = pytest.mark.postgres


@dataclass
class Process(FSM):
    """One FSM that runs as a process of its own."""

    child: asyncio.subprocess.Process | None = None
    token: str = ""

    async def start(self, *, failpoints: str = "") -> None:
        self.child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fsm", "serve", "--data", str(self.data)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={
                **os.environ,
                "HANSE_FSM_DATABASE": str(self.settings.database),
                "HANSE_FSM_LISTEN__PORT": str(self.settings.listen.port),
                VARIABLE: failpoints,
            },
        )
        assert self.child.stdout is not None
        line = (await self.child.stdout.readline()).decode()
        assert "serving at https://" in line, line

    async def kill(self) -> None:
        """Kill it with -9, unless it has died."""
        if self.child is not None:
            if self.child.returncode is None:
                self.child.kill()
            await self.child.wait()

    def admin_token(self) -> str:
        return self.token

    async def log_in(self) -> str:
        body = {"username": "admin", "password": PASSWORD}
        visitor = self.visitor()
        return str((await visitor.post("/api/v1/login", body)).json()["accessToken"])


@dataclass
class Pair(World):
    """A federation as in World, whose FSM is `fsm` and `other`."""

    other: Process = field(kw_only=True)


@pytest.fixture
async def pair(stopped: FSM, tmp_path: Path, postgres_url: str) -> AsyncIterator[Pair]:
    store = await open_store(postgres_url, clock=stopped.clock, create=True)
    passwords = Passwords()
    await create_account(store, "admin", PASSWORD, passwords=passwords, clock=stopped.clock)
    passwords.close()
    await store.close()
    managers = []
    async with AsyncExitStack() as stack:
        for _ in range(2):
            settings = stopped.settings.model_copy(
                update={"database": postgres_url, "listen": Listen(port=free_port())}
            )
            process = Process(stopped.data, stopped.clock, settings)
            stack.push_async_callback(process.kill)
            await process.start()
            managers.append(process)
        one, other = managers
        one.token = other.token = await one.log_in()
        sites, nodes = [], []
        for name, upstream in (("sfo", (one, other)), ("fra", (other, one))):
            await declare(one.admin(), site=name)
            site = await stack.enter_async_context(
                joined(tmp_path, one, name=name, clock=HurriedClock())
            )
            urls = tuple(each.url for each in upstream)
            site.settings = site.settings.model_copy(update={"upstream": urls})
            await stack.enter_async_context(site.serving())
            await site.until(lambda status: bool(status["policies"]))
            await site.populate()
            node = tmp_path / f"node-of-{name}"
            await site.join_node("node-1", node)
            await stack.enter_async_context(site.agent(node))
            await site.until_node("node-1", state="realised", connected=True)
            sites.append(site)
            nodes.append(node)
        yield Pair(one, one.admin(), sites, nodes, other=other)
        for each in managers:
            for client in each.clients:
                await client.close()


@asynccontextmanager
async def changes(pair: Pair) -> AsyncIterator[list[str]]:
    """Write to whichever of the two answers, all the time; give the names of what was acknowledged.

    Whoever connects anew trusts the roots that lie in the FSM's folder then.
    """
    written: list[str] = []

    async def write() -> None:
        at = itertools.cycle((pair.fsm, pair.other))
        writer = next(at).admin()
        while True:
            name = f"n-{len(written)}"
            try:
                await writer.put("networks", name, {"subnets": ["10.9.0.0/24"]})
            except Unreachable:
                writer = next(at).admin()
                continue
            written.append(name)

    async with Group() as group:
        task = group.start(write(), name="changes")
        yield written
        task.cancel()


async def names_at(site: RoadSite) -> set[str]:
    assert site.running is not None
    async with site.running.store.snapshot() as snapshot:
        return {each.key.name for each in await snapshot.list() if each.key.kind == "Network"}


async def test_issuing_ca_and_root_are_exchanged_while_one_of_two_processes_is_killed(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair.fsm, pair.other
    assert isinstance(one, Process)
    credentials = FSMCredentials.beneath(one.data)
    (old_root,) = credentials.roots()
    old_issuing = serial_of(credentials.issuing.load_public()[0][0])
    async with changes(pair) as written:
        # Begun at the one, which is killed; finished at the other.
        await pair.rotate("issuing")
        assert serial_of(credentials.issuing.load_public()[0][0]) != old_issuing
        await one.kill()
        pair.admin = other.admin()
        await pair.followed("issuing", "in use")
        await pair.rotate("issuing", "finish")

        # The one dies in the middle of announcing the root; the other goes on from there.
        await one.start(failpoints="fsm.exchange.linked=exit")
        pair.admin = one.admin()
        with pytest.raises(Unreachable):
            await pair.rotate("root")
        assert one.child is not None
        assert await one.child.wait() == EXIT_STATUS
        pair.admin = other.admin()
        await pair.rotate("root")
        # It is back before the new root is in use, and must follow what the other does.
        await one.start()
        pair.admin = other.admin()
        await pair.followed("root", "in use")
        await pair.rotate("root", "finish")
        before = len(written)
        while len(written) < before + 20:
            await pair.admin.status()
    (new_root,) = credentials.roots()
    assert fingerprint_of(new_root) != fingerprint_of(old_root)
    for each in (one, other):
        # Each shows itself beneath the new root, to somebody who trusts nothing else.
        visitor = PeerClient([each.url], tls=visitor_context([new_root]), token=each.admin_token)
        assert (await Person(visitor).status())["sites"]
        await visitor.close()
    while any(len(trusted) > 1 for trusted in pair.trusted()):
        await pair.admin.status()
    assert set(pair.trusted()) == {(new_root,)}, "the old root is trusted by nobody"
    assert not credentials.next_root.exists()
    for site in pair.sites:
        while not set(written) <= await names_at(site):
            await pair.admin.status()
        async with Client(site.url, ca=certificates_to_pem([new_root])) as site.client:
            await site.client.login("admin", PASSWORD)
            await site.until_node("node-1", state="realised", connected=True)
    assert not set(codes(caplog)) & BROKEN_HANDSHAKES
