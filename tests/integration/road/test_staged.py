"""A staged policy is counted at nodes, seen at the site and on the FSM, and then enforced."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dsn.app import Agent
from dsn.settings import DSNSettings, Files, load_identity
from shared.feed import knows
from shared.http.peer import PeerClient
from shared.tasks.group import Group
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import HurriedClock, RoadSite, joined

RULE = {"name": "no-ssh", "from": "any", "to": [{"network": "A"}], "action": "deny"}
NO_SSH = {
    "enforcement": "mandatory",
    "priority": 10,
    "stage": "staged",
    "rules": [RULE | {"services": [{"protocol": "tcp", "ports": ["22"]}]}],
}
SSH = {"from": "192.0.2.1", "to": "10.0.0.5", "protocol": "tcp", "port": 22}


async def test_what_a_staged_policy_would_deny_is_counted_seen_and_then_denied(
    fsm: FSM, tmp_path: Path
) -> None:
    async with joined(tmp_path, fsm, clock=HurriedClock()) as site, site.serving():
        await site.until(lambda status: bool(status["policies"]))
        await site.populate()
        await site.join_node("node-1", tmp_path / "n1")
        async with agent(site, tmp_path / "n1") as send:
            await site.until_node("node-1", state="realised", connected=True)
            await fsm.admin().put("securitypolicies", "no-ssh", NO_SSH)
            await site.heard(fsm)
            await until_counting(site, tmp_path / "n1")
            assert await send(SSH | {"sourcePort": 2001}) == "allow"
            assert await send(SSH | {"port": 443}) == "allow"

            status = await site.until(lambda found: denied(found["staged"]) == 1)
            (staged,) = status["staged"]
            assert (staged["name"], staged["wouldAllow"]) == ("no-ssh", 0)
            assert [(each["rule"], each["wouldDeny"]) for each in staged["rules"]] == [
                ("no-ssh", 1)
            ]
            assert staged["since"] <= staged["lastAt"]

            # Upwards it moves every half minute.
            site.clock.ahead += timedelta(minutes=1)
            while (above := await seen_above(fsm)) is None or above["wouldDeny"] != 1:
                pass
            assert above["wouldAllow"] == 0
            for name in ("since", "lastAt"):
                assert datetime.fromisoformat(above[name]) == datetime.fromisoformat(staged[name])

            await fsm.admin().put("securitypolicies", "no-ssh", NO_SSH | {"stage": "enforced"})
            await site.heard(fsm)
            port = 3000
            while await send(SSH | {"sourcePort": port}) != "deny":
                port += 1
            await site.until(lambda found: found["staged"] == [])
            while await seen_above(fsm) is not None:
                pass


async def test_counts_outlive_the_site_and_begin_anew_with_another_text(
    fsm: FSM, tmp_path: Path
) -> None:
    async with joined(tmp_path, fsm, clock=HurriedClock()) as site:
        async with site.serving():
            await site.until(lambda status: bool(status["policies"]))
            await site.populate()
            await site.join_node("node-1", tmp_path / "n1")
        await fsm.admin().put("securitypolicies", "no-ssh", NO_SSH)
        async with agent(site, tmp_path / "n1") as send:
            async with site.serving():
                await until_counting(site, tmp_path / "n1")
                for port in range(2001, 2004):
                    assert await send(SSH | {"sourcePort": port}) == "allow"
                await site.until(lambda found: denied(found["staged"]) == 3)
            # While nobody adds up, nodes go on counting.
            assert await send(SSH | {"sourcePort": 2004}) == "allow"
            async with site.serving():
                await site.until(lambda found: denied(found["staged"]) == 4)

                await fsm.admin().put("securitypolicies", "no-ssh", on_ports("22-23"))
                await site.until(lambda found: denied(found["staged"]) == 0)
                await site.until_node("node-1", state="realised")
                assert await send(SSH | {"sourcePort": 2005}) == "allow"
                await site.until(lambda found: denied(found["staged"]) == 1)


async def test_an_agent_of_an_earlier_release_goes_on_and_counts_nothing(
    fsm: FSM, tmp_path: Path, monkeypatch: Any
) -> None:
    async with joined(tmp_path, fsm, clock=HurriedClock()) as site, site.serving():
        await site.until(lambda status: bool(status["policies"]))
        await site.populate()
        await fsm.admin().put("securitypolicies", "no-ssh", NO_SSH)
        await site.heard(fsm)
        await site.join_node("node-1", tmp_path / "n1")

        def silent(*arguments: Any, headers: Any = None, **more: Any) -> PeerClient:
            assert headers == knows.AGENT
            return PeerClient(*arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr("dsn.app.PeerClient", silent)
            async with agent(site, tmp_path / "n1") as send:
                before = await site.until_node("node-1", state="realised", connected=True)
                assert await send(SSH) == "allow"
                # A change of what is enforced arrives; of what is staged, nothing does.
                await site.put("Network", "A", {"subnets": ["10.0.0.0/25"]})
                while (await site.node("node-1"))["wanted"] == before["wanted"]:
                    pass
                await site.until_node("node-1", state="realised")
        async with agent(site, tmp_path / "n1") as send:
            await until_counting(site, tmp_path / "n1")


def on_ports(ports: str) -> dict[str, Any]:
    return NO_SSH | {"rules": [RULE | {"services": [{"protocol": "tcp", "ports": [ports]}]}]}


def denied(staged: list[dict[str, Any]]) -> int:
    return sum(each["wouldDeny"] for each in staged) if staged else -1


async def seen_above(fsm: FSM) -> dict[str, Any] | None:
    """Return what the FSM shows of the staged policy at the site."""
    for policy in (await fsm.admin().status())["policies"]:
        if policy["name"] == "no-ssh":
            found: dict[str, Any] | None = policy["sites"][0].get("staged")
            return found
    return None


@asynccontextmanager
async def agent(site: RoadSite, data: Path) -> AsyncIterator[Any]:
    """Run a node's agent; yield what sends a packet and returns its verdict."""
    running = Agent(
        identity=load_identity(data),
        files=Files.of(data),
        settings=DSNSettings(data_plane="memory", simulation_port=0),
        clock=HurriedClock(),
        source=random.Random(2),
    )
    stop = asyncio.Event()

    async def send(packet: dict[str, Any]) -> Any:
        place = json.loads(Files.of(data).simulation.read_text())
        reader, writer = await asyncio.open_connection(place["host"], place["port"])
        writer.write(json.dumps(packet).encode() + b"\n")
        answer = json.loads(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return answer["verdict"]

    async with Group() as group:
        task = group.start(running.run(stop), name="agent")
        yield send
        stop.set()
        await task


async def until_counting(site: RoadSite, data: Path) -> None:
    """Wait until the node has taken what is staged."""
    while True:
        await site.node("node-1")
        with suppress(FileNotFoundError):
            saved = json.loads(Files.of(data).last_good.read_text())
            if saved["configuration"].get("staged"):
                return
