"""The issuing CA and then the root are exchanged while changes flow to two sites and their nodes.

Nothing is lost, no handshake fails, and at the end the old root is trusted by nobody.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dsn.settings import Files
from fsm.trust import FSMCredentials
from sdsp.upstream.enroll import SiteCredentials
from shared.cli.client import Client
from shared.errors import Conflict, NotFound
from shared.pki.authority import create_root
from shared.pki.certificates import Certificate, certificates_to_pem, fingerprint_of, serial_of
from shared.pki.credentials import CredentialsDirectory
from shared.tasks.group import Group
from tests.integration.fsm.conftest import stopped, template
from tests.integration.fsm.harness import FSM, PASSWORD, TRUST_DOMAIN, Person
from tests.integration.road.world import HurriedClock, RoadSite, declare, joined

__all__ = ["stopped", "template"]

BROKEN_HANDSHAKES = {"wrong_root", "tls_failed", "wrong_issuer", "certificate_expired"}


@dataclass
class World:
    """A federation with two sites, each with a node that enforces."""

    fsm: FSM
    admin: Person
    sites: list[RoadSite]
    nodes: list[Path]

    def trusted(self) -> list[tuple[Certificate, ...]]:
        """Return the roots that each component trusts, as its folder says."""
        folders = [FSMCredentials.beneath(self.fsm.data).issuing]
        folders.append(FSMCredentials.beneath(self.fsm.data).server)
        for site in self.sites:
            credentials = SiteCredentials.beneath(site.data)
            folders += [credentials.authority, credentials.server]
        folders += [CredentialsDirectory(Files.of(node).credentials) for node in self.nodes]
        return [each.load_public()[1] for each in folders]

    async def rotate(self, what: str, step: str = "begin", **more: Any) -> dict[str, Any]:
        body = {"what": what, "step": step, **more}
        answer = await self.admin.client.post("/api/v1/certificates/rotate", body)
        return dict(answer.json())

    async def followed(self, what: str, phase: str) -> None:
        """Ask until everybody has followed; pytest-timeout ends a wait for ever."""
        while True:
            standing = await self.rotate(what)
            if standing["phase"] == phase and not standing["behind"]:
                return


@pytest.fixture
async def world(stopped: FSM, tmp_path: Path) -> AsyncIterator[World]:
    stopped.clock = HurriedClock()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(stopped.serving())
        admin = stopped.admin()
        sites, nodes = [], []
        for name in ("sfo", "fra"):
            await declare(admin, site=name)
            site = await stack.enter_async_context(
                joined(tmp_path, stopped, name=name, clock=HurriedClock())
            )
            await stack.enter_async_context(site.serving())
            await site.until(lambda status: bool(status["policies"]))
            await site.populate()
            node = tmp_path / f"node-of-{name}"
            await site.join_node("node-1", node)
            await stack.enter_async_context(site.agent(node))
            await site.until_node("node-1", state="realised", connected=True)
            sites.append(site)
            nodes.append(node)
        yield World(stopped, admin, sites, nodes)


@asynccontextmanager
async def changes(world: World) -> AsyncIterator[list[str]]:
    """Write to the FSM all the time; give the names of what was acknowledged."""
    written: list[str] = []

    async def write() -> None:
        while True:
            name = f"n-{len(written)}"
            await world.admin.put("networks", name, {"subnets": ["10.9.0.0/24"]})
            written.append(name)

    async with Group() as group:
        task = group.start(write(), name="changes")
        yield written
        task.cancel()


def codes(caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    for record in caplog.records:
        if record.levelno >= logging.WARNING:
            yield str(getattr(record, "code", ""))


async def test_the_issuing_ca_and_the_root_are_exchanged_while_changes_flow(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = FSMCredentials.beneath(world.fsm.data)
    (old_root,) = credentials.roots()
    old_issuing = serial_of(credentials.issuing.load_public()[0][0])
    async with changes(world) as written:
        await world.rotate("issuing")
        assert serial_of(credentials.issuing.load_public()[0][0]) != old_issuing
        await world.followed("issuing", "in use")
        await world.rotate("issuing", "finish")

        # The root's key is kept elsewhere, and brought back for this.
        key = credentials.root.path / "current" / "key.pem"
        kept = key.read_bytes()
        key.unlink()
        with pytest.raises(NotFound) as caught:
            await world.rotate("root")
        assert caught.value.code == "root_key_offline"
        assert str(credentials.root.path) in caught.value.message
        key.write_bytes(kept)
        key.chmod(0o600)

        await world.rotate("root")
        await world.followed("root", "in use")
        for trusted in world.trusted():
            assert len(trusted) == 2, "both are trusted meanwhile"
        await world.rotate("root", "finish")
        before = len(written)
        while len(written) < before + 20:
            await world.admin.status()
    async with AsyncExitStack() as stack:
        (new_root,) = credentials.roots()
        assert fingerprint_of(new_root) != fingerprint_of(old_root)
        for site in world.sites:
            site.client = await stack.enter_async_context(
                Client(site.url, ca=certificates_to_pem([new_root]))
            )
            await site.client.login("admin", PASSWORD)
            await site.heard(world.fsm)
            while any(len(trusted) > 1 for trusted in world.trusted()):
                await site.api.status()
        assert set(world.trusted()) == {(new_root,)}, "the old root is trusted by nobody"
        assert not credentials.next_root.exists()
        assert not set(codes(caplog)) & BROKEN_HANDSHAKES
        for site in world.sites:
            assert site.running is not None
            async with site.running.store.snapshot() as snapshot:
                had = {
                    each.key.name for each in await snapshot.list() if each.key.kind == "Network"
                }
            assert set(written) <= had
            await site.until_node("node-1", state="realised", connected=True)


async def test_the_old_root_is_not_dropped_while_a_site_has_not_followed(world: World) -> None:
    cut_off = world.sites[1]
    cut_off.wire.cut()
    standing = await world.rotate("root")
    assert standing["phase"] == "announced"
    assert any(each.startswith("fra") for each in standing["behind"])
    with pytest.raises(Conflict) as caught:
        await world.rotate("root", "finish")
    assert caught.value.code == "no_exchange"

    await world.rotate("root", "proceed")
    with pytest.raises(Conflict) as caught:
        await world.rotate("root", "finish")
    assert caught.value.code == "not_followed"
    assert "fra" in caught.value.message
    cut_off.wire.mend()
    # It can't verify the FSM any more, but finds what the old root vouches for.
    await world.followed("root", "in use")
    await world.rotate("root", "finish")
    while any(len(trusted) > 1 for trusted in world.trusted()):
        await world.admin.status()


async def test_a_site_exchanges_its_ca_and_its_nodes_follow(world: World) -> None:
    site = world.sites[0]
    authority = SiteCredentials.beneath(site.data).authority
    before = serial_of(authority.load_public()[0][0])

    async def rotate(step: str = "begin") -> dict[str, Any]:
        body = {"what": "authority", "step": step}
        return await site.api._connection.mapping("POST", "/api/v1/certificates/rotate", body=body)

    standing = await rotate()
    while standing["behind"]:
        standing = await rotate()
    await rotate("finish")
    after = serial_of(authority.load_public()[0][0])
    assert after != before
    node = CredentialsDirectory(Files.of(world.nodes[0]).credentials).load_public()[0]
    assert serial_of(node[1]) == after
    items = (await site.api._connection.mapping("GET", "/api/v1/certificates"))["items"]
    assert {each["serial"]: each["state"] for each in items}[before] == "revoked"
    await site.until_node("node-1", state="realised", connected=True)


async def test_a_root_that_no_trusted_root_vouches_for_is_taken_over_by_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody has the FSM's folder and its issuing CA's key, but not the root's."""
    credentials = FSMCredentials.beneath(world.fsm.data)
    issuing = credentials.issuing.load()
    forged = create_root(TRUST_DOMAIN, clock=world.fsm.clock)
    credentials.next_root.write(forged)
    credentials.issuing.write(issuing.trusting([*issuing.roots, forged.certificate]))
    await world.rotate("server")
    (site, _) = world.sites
    while "unlinked_root" not in {
        code for each in caplog.records for code in getattr(each, "failed", {}).values()
    }:
        await site.api.status()
    await site.heard(world.fsm)
    assert all(trusted == issuing.roots for trusted in world.trusted()[2:])
    await site.until(lambda status: status["upstream"]["connected"])
