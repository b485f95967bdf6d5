"""An agent's life as a process in a network namespace of its own, enforcing with nftables."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.dataplanes import (
    PEER,
    WORKLOAD,
    KernelBench,
    configuration,
    in_namespace,
    kernel_bench,
    make_rule,
    make_service,
    set_id,
)
from tests.contract.frames import TCP
from tests.integration.dsn.site import Process, Site, agent, command, serving

pytestmark = pytest.mark.kernel

HTTP = make_rule("http", "allow", destination=set_id(1), services=make_service(TCP, 80))
WANTED = configuration(HTTP, _1=("10.1.0.0/24",))


@dataclass(frozen=True, slots=True)
class Node:
    """A node that has joined, in the middle of a bench; its site listens in its namespace."""

    bench: KernelBench
    site: Site
    data: Path

    @property
    def namespace(self) -> str:
        return self.bench.names.node

    def rules(self) -> str:
        """Return what is enforced, without the changing parts."""
        listed = json.loads(self.bench.nft("-j", "list", "table", "inet", "hanse"))["nftables"]
        return json.dumps([each for each in listed if "counter" not in each])

    async def look(self) -> str | None:
        """Return the hash of what is enforced, as a stranger reads it back."""
        found = await self.bench.plane.read_back()
        return None if found.faults else found.hash

    async def until_enforced(self, wanted: str) -> None:
        """Wait for another process; pytest-timeout ends a wait for ever."""
        while await self.look() != wanted:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


@asynccontextmanager
async def started_node(folder: Path) -> AsyncIterator[Node]:
    async with kernel_bench() as bench:
        bench.run("ip", "link", "set", "lo", "up")
        with in_namespace(bench.names.node, socket.socket) as listener:
            async with serving(Site(), listener) as site:
                data = folder / "node"
                status, output = await command(
                    *("join", "--server", site.url, "--token", site.token(), "--data", str(data)),
                    namespace=bench.names.node,
                )
                assert status == 0, output
                yield Node(bench, site, data)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started_node(tmp_path) as made:
        yield made


def running(node: Node, **settings: str) -> AbstractContextManager[Process]:
    return agent(node.data, namespace=node.namespace, plane="nftables", **settings)


async def test_what_the_site_says_is_what_the_kernel_enforces(node: Node) -> None:
    wanted = node.site.publish(WANTED)
    with running(node):
        report = await node.site.acknowledged(wanted)
        assert report["dataPlane"] == "nftables"
        assert await node.look() == wanted
        connection = await node.bench.connect(PEER, WORKLOAD, TCP, 80)
        assert await connection.forth()
        with pytest.raises(ConnectionError):
            await node.bench.connect(PEER, WORKLOAD, TCP, 81)

        # Acknowledged means: for open connections too.
        await node.site.acknowledged(node.site.publish(configuration()))
        assert not await connection.forth()


async def test_drift_by_hand_is_reported_and_repaired(node: Node) -> None:
    wanted = node.site.publish(WANTED)
    with running(node, read_back_period="0.2"):
        await node.site.acknowledged(wanted)
        node.site.reports.clear()

        node.bench.nft("flush", "chain", "inet", "hanse", "h_local_4")
        drift = await node.site.reported(lambda each: each["readBack"] != wanted)
        assert drift["hash"] == wanted
        await node.site.acknowledged(wanted)
        assert await node.look() == wanted


async def test_a_node_that_restarts_alone_enforces_before_it_has_spoken_to_anyone(
    node: Node,
) -> None:
    wanted = node.site.publish(WANTED)
    with running(node) as process:
        await node.site.acknowledged(wanted)
        process.signal(signal.SIGKILL)
        await process.wait()
    assert await node.look() == wanted, "rules stay in the kernel"

    await node.site.stop()
    node.bench.nft("delete", "table", "inet", "hanse")  # as a reboot does
    with running(node):
        await node.until_enforced(wanted)


async def test_a_stopped_agent_leaves_its_rules(node: Node) -> None:
    wanted = node.site.publish(WANTED)
    with running(node) as process:
        await node.site.acknowledged(wanted)
        rules = node.rules()
        process.signal(signal.SIGTERM)
        status, output = await process.wait()
    assert status == 0, output
    assert node.rules() == rules


async def test_a_restart_neither_stops_traffic_nor_forgets_counts(node: Node) -> None:
    wanted = node.site.publish(WANTED)
    with running(node):
        await node.site.acknowledged(wanted)
        connection = await node.bench.connect(PEER, WORKLOAD, TCP, 80)
    with running(node, report_period="0.2"):
        report = await node.site.reported(lambda each: each["counters"].get(HTTP.id, 0) > 0)
        assert report["counters"][HTTP.id] == 1
        assert await connection.forth()
        assert await connection.back()


async def test_a_killed_agent_leaves_the_old_rules_or_the_new(node: Node) -> None:
    """Killed at a random moment of a replacement, nothing stands there by halves."""
    versions = [
        configuration(
            *(make_rule(f"r{each}", "allow", services=make_service(TCP, each)) for each in ports),
            _1=("10.1.0.0/24",),
        )
        for ports in (range(1, 200), range(300, 400))
    ]
    hashes = [each.hash() for each in versions]
    delays = (0.0, 0.005, 0.01, 0.02, 0.04)
    with running(node) as process:
        await node.site.acknowledged(node.site.publish(versions[0]))
        process.signal(signal.SIGKILL)
    for number, delay in enumerate(delays, 1):
        with running(node) as process:
            await node.site.reported(lambda each: each["generation"] >= node.site.generation)
            node.site.publish(versions[number % 2])
            await asyncio.sleep(delay)
            process.signal(signal.SIGKILL)
        assert await node.look() in hashes
        node.site.reports.clear()


async def test_auto_falls_back_to_the_simulation_and_says_so(node: Node) -> None:
    """As root, but without the right to administer the network."""
    arguments = ["run", "--data", str(node.data), "--data-plane", "auto"]
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", node.namespace, "setpriv", "--bounding-set=-net_admin"),
        *("--inh-caps=-net_admin", sys.executable, "-m", "dsn", *arguments),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        report = await node.site.acknowledged(node.site.publish(WANTED))
        assert report["dataPlane"] == "memory"
    finally:
        process.terminate()
    _, errors = await process.communicate()
    assert "packets are only simulated" in errors.decode()


async def test_nftables_that_cannot_be_used_is_an_error_if_it_was_asked_for(node: Node) -> None:
    arguments = ["run", "--data", str(node.data), "--data-plane", "nftables"]
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"),
        *(sys.executable, "-m", "dsn", *arguments),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert "nftables can't be used" in errors.decode()
    assert "Traceback" not in errors.decode()
