"""An agent as a process leads real connections to backends, through a change, a kill and a reboot."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.balancing_benches import (
    BACKENDS,
    PORT,
    VIRTUAL,
    KernelBalancerBench,
    balancer,
    balancing,
)
from tests.integration.dsn.test_agent_in_kernel import Node, running, started_node

pytestmark = pytest.mark.kernel

SHOP = balancer(*BACKENDS)
CLIENTS = tuple(f"10.1.0.{host}" for host in range(1, 10))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started_node(tmp_path) as made:
        yield made


@pytest.fixture
async def clients(node: Node) -> AsyncIterator[KernelBalancerBench]:
    async with AsyncExitStack() as stack:
        bench = KernelBalancerBench(node.bench, stack)
        await bench.serve(*BACKENDS)
        yield bench


async def test_what_the_site_says_is_where_the_kernel_leads(
    node: Node, clients: KernelBalancerBench
) -> None:
    wanted = node.site.publish(balancing(SHOP))
    with running(node):
        report = await node.site.acknowledged(wanted)
        assert report["services"] == ["firewall", "loadBalancer"]
        asking = [await clients.ask(client, VIRTUAL, 80) for client in CLIENTS]
        assert {each.answered for each in asking} == {(each, PORT) for each in BACKENDS}

        # Acknowledged means: those whose backend has gone have ended, and no others.
        gone = asking[0].answered[0]
        left = tuple(each for each in BACKENDS if each != gone)
        await node.site.acknowledged(node.site.publish(balancing(replace(SHOP, backends=left))))
        lives = [await each.lives() for each in asking]
        assert lives == [each.answered[0] != gone for each in asking]

        node.site.reports.clear()
        report = await node.site.acknowledged(
            node.site.publish(replace(balancing(), balancers=None))
        )
        assert "services" not in report, "the firewall alone is what every node runs"


async def test_a_killed_agent_leaves_its_balancers_and_a_reboot_brings_them_back(
    node: Node, clients: KernelBalancerBench
) -> None:
    wanted = node.site.publish(balancing(SHOP))
    with running(node) as process:
        await node.site.acknowledged(wanted)
        process.signal(signal.SIGKILL)
        await process.wait()
    first = await clients.ask(CLIENTS[0], VIRTUAL, 80)

    await node.site.stop()
    for table in ("hanse", "hanse_balance"):
        node.bench.nft("delete", "table", "inet", table)
    with running(node):
        await node.until_enforced(wanted)
        again = await clients.ask(CLIENTS[0], VIRTUAL, 80)
        assert again.answered == first.answered, "a client keeps its backend"


async def test_balancers_that_go_by_hand_are_reported_as_drift_and_repaired(node: Node) -> None:
    wanted = node.site.publish(balancing(SHOP))
    with running(node, read_back_period="0.2"):
        await node.site.acknowledged(wanted)
        node.site.reports.clear()

        node.bench.nft("flush", "map", "inet", "hanse_balance", f"h_b{SHOP.id}")
        drift = await node.site.reported(lambda each: each["readBack"] != wanted)
        assert drift["hash"] == wanted
        await node.site.acknowledged(wanted)
