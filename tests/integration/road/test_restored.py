"""What becomes of a federation when its FSM, or a site's SDSP, stands up from an older backup."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from dsn.enforce.last_good import LastGood
from dsn.settings import Files
from fsm.home import home_of as fsm_home
from sdsp.home import RESTORED
from sdsp.home import home_of as site_home
from shared.backup.contents import Home
from shared.backup.create import BackupMaker, Wish
from shared.backup.restore import Order, Restorer
from shared.clock import SystemClock
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import MANDATORY, RoadSite, declare, joined

BLOCK = {
    "enforcement": "mandatory",
    "priority": 0,
    "rules": [
        {"name": "no", "from": "any", "to": [{"network": "A"}], "action": "deny",
         "services": [{"protocol": "tcp", "ports": ["22"]}]}
    ],
}  # fmt: skip
SSH_TO_W1 = {"from": "192.0.2.1", "to": "10.0.0.5", "protocol": "tcp", "port": 22}


async def back_up(home: Home, path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        maker = BackupMaker(home, clock=SystemClock(), executor=executor)
        await maker.make(Wish(path=path))


async def restore(home: Home, path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        restorer = Restorer(home, clock=SystemClock(), executor=executor)
        await restorer.restore(Order(archive=path, replace=True))


def rules(resolved: dict[str, Any]) -> set[str]:
    return {rule["policy"] for rule in resolved["rules"]}


async def until_enforced(site: RoadSite, policies: int) -> dict[str, Any]:
    """Wait until the node has realised so many policies."""

    def holds(status: dict[str, Any]) -> bool:
        realised = [each for each in status["policies"] if each["nodes"]["realised"] == 1]
        return len(realised) == policies

    await site.until(holds)
    return await site.node("node-1")


async def test_nothing_enforced_is_removed_by_an_fsm_restored_from_an_older_backup(
    stopped: FSM, tmp_path: Path
) -> None:
    backup = tmp_path / "fsm.hanse"
    async with AsyncExitStack() as stack:
        async with stopped.serving():
            await declare(stopped.admin())
            site = await stack.enter_async_context(joined(tmp_path, stopped))
            async with site.serving(), AsyncExitStack() as agents:
                await site.populate()
                await site.join_node("node-1", tmp_path / "node-1")
                await agents.enter_async_context(site.agent(tmp_path / "node-1"))
                await until_enforced(site, 1)

                # Made beside the serving FSM; what comes after it isn't in it.
                await back_up(fsm_home(stopped.data, stopped.settings), backup)
                await stopped.admin().put("securitypolicies", "block", BLOCK)
                before = await until_enforced(site, 2)
                position = (await site.api.status())["upstream"]["position"]

        await restore(fsm_home(stopped.data, stopped.settings), backup)
        async with site.serving(), site.agent(tmp_path / "node-1"), stopped.serving():
            status = await site.until(lambda found: bool(found["held"]))
            assert [(each["name"], each["cause"]) for each in status["held"]] == [
                ("block", "missing")
            ]
            again = status["upstream"]["position"]
            assert again["incarnation"] != position["incarnation"]
            # It has written its own keys again since.
            assert again["revision"] <= position["revision"]
            assert rules(await site.api.resolve()) == {"p", "block"}
            assert (await site.api.trace(SSH_TO_W1))["outcome"] == "deny"
            after = await until_enforced(site, 2)
            assert after["hash"] == before["hash"]

            # People see it, on the FSM too; what is new goes on applying.
            # One client: each has a connection of its own, and of those an address has a limit.
            admin = stopped.admin()
            shown: list[Any] = []
            while not shown:
                shown = (await admin.status())["sites"][0]["held"]
            assert [each["name"] for each in shown] == ["block"]
            await admin.put("securitypolicies", "new", MANDATORY)
            await until_enforced(site, 3)


async def until_told(caplog: pytest.LogCaptureFixture, peer: str, site: RoadSite) -> str:
    """Wait until somebody has lost the connection to a peer; return the code."""
    while True:
        for record in caplog.records:
            if record.message.startswith("connection lost") and vars(record)["peer"] == peer:
                return str(vars(record)["code"])
        await site.api.status()


async def test_nodes_keep_what_they_have_until_a_restored_site_has_heard_its_fsm(
    stopped: FSM, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backup = tmp_path / "site.hanse"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(stopped.serving())
        await declare(stopped.admin())
        site = await stack.enter_async_context(joined(tmp_path, stopped))
        async with site.serving() as first, AsyncExitStack() as agents:
            old = (await first.store.position()).incarnation
            await site.populate()
            await site.join_node("node-1", tmp_path / "node-1")
            await agents.enter_async_context(site.agent(tmp_path / "node-1"))
            await until_enforced(site, 1)
            await back_up(site_home(site.data, site.settings), backup)
            await stopped.admin().put("securitypolicies", "block", BLOCK)
            before = await until_enforced(site, 2)

        site.wire.cut()
        caplog.clear()
        await restore(site_home(site.data, site.settings), backup)
        assert (site.data / RESTORED).exists()
        last_good = LastGood(Files.of(tmp_path / "node-1").last_good)
        async with site.serving() as second, site.agent(tmp_path / "node-1"):
            assert (await second.store.position()).incarnation != old
            # The backup knows nothing of the block; the node asks, and enforces it all the same.
            told = await until_told(caplog, "SDSP of sfo", site)
            assert told == "not_compiled"
            assert (await site.node("node-1"))["wanted"] is None

            site.wire.mend()
            seen = set()

            def holds(status: dict[str, Any]) -> bool:
                kept = last_good.load()
                seen.add(kept.version.hash if kept else None)
                realised = [each for each in status["policies"] if each["nodes"]["realised"] == 1]
                return len(realised) == 2

            await site.until(holds)
            # Not for a moment was it without.
            assert seen == {before["hash"]}
            assert not (site.data / RESTORED).exists()
            assert (await site.api.trace(SSH_TO_W1))["outcome"] == "deny"
            # And goes on: generations of another incarnation aren't compared with the old ones.
            await stopped.admin().put("securitypolicies", "new", MANDATORY)
            await until_enforced(site, 3)


async def test_a_site_restored_without_its_fsm_goes_on_when_a_person_says_so(
    stopped: FSM, tmp_path: Path
) -> None:
    backup = tmp_path / "site.hanse"
    async with AsyncExitStack() as stack:
        async with stopped.serving():
            await declare(stopped.admin())
            site = await stack.enter_async_context(joined(tmp_path, stopped))
            async with site.serving():
                await site.populate()
                await site.until(lambda status: len(status["policies"]) == 1)
                await back_up(site_home(site.data, site.settings), backup)
        await restore(site_home(site.data, site.settings), backup)
        async with site.serving():
            assert (await site.api.status())["policies"] == []
            (site.data / RESTORED).unlink()
            status = await site.until(lambda status: len(status["policies"]) == 1)
            assert not status["upstream"]["connected"]
