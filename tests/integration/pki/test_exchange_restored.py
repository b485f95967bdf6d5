"""A backup of the FSM made in the middle of an exchange: restored, its sites still trust it.

Sites, nodes and their TLS are real.
"""

import fcntl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsm.home import home_of
from fsm.trust import (
    FSMCredentials,
    Phase,
    announce_root,
    drop_old_root,
    issue_issuing,
    take_root_into_use,
)
from shared.pki.alone import LOCK_FILE
from tests.integration.fsm.conftest import stopped, template
from tests.integration.fsm.harness import FSM
from tests.integration.pki.test_exchange import World
from tests.integration.road.test_restored import back_up, restore
from tests.integration.road.world import HurriedClock, RoadSite, declare, joined

__all__ = ["stopped", "template"]


@asynccontextmanager
async def enforcing(stack: AsyncExitStack, fsm: FSM, folder: Path) -> AsyncIterator[World]:
    """Serve the FSM while the block runs; the site, whose node enforces, stays for `stack`."""
    async with fsm.serving():
        await declare(fsm.admin())
        site = await stack.enter_async_context(joined(folder, fsm, clock=HurriedClock()))
        await stack.enter_async_context(site.serving())
        await site.until(lambda status: bool(status["policies"]))
        await site.populate()
        await site.join_node("node-1", folder / "node-1")
        await stack.enter_async_context(site.agent(folder / "node-1"))
        await site.until_node("node-1", state="realised", connected=True)
        yield World(fsm, fsm.admin(), [site], [folder / "node-1"])


async def reached(world: World, site: RoadSite, moment: str) -> None:
    """Come to the middle of an exchange."""
    if moment == "issuing CA":
        await world.rotate("issuing")
        await world.followed("issuing", "in use")
        return
    if moment == "announced":
        site.wire.cut()
        assert (await world.rotate("root"))["phase"] == moment
        return
    await world.rotate("root")
    await world.followed("root", moment)


@pytest.mark.parametrize(
    ("moment", "is_finished"),
    [("issuing CA", True), ("announced", False), ("announced", True), ("in use", True)],
)
async def test_a_backup_made_in_the_middle_of_an_exchange_restores_to_a_server_that_is_trusted(
    stopped: FSM, tmp_path: Path, *, moment: str, is_finished: bool
) -> None:
    backup, home = tmp_path / "fsm.hanse", home_of(stopped.data, stopped.settings)
    stopped.clock = HurriedClock()
    what = "issuing" if moment == "issuing CA" else "root"
    async with AsyncExitStack() as stack:
        async with enforcing(stack, stopped, tmp_path) as world:
            (site,) = world.sites
            await reached(world, site, moment)
            await back_up(home, backup)
            site.wire.mend()
            await world.followed(what, "in use")
            if is_finished:
                await world.rotate(what, "finish")
                while any(len(trusted) > 1 for trusted in world.trusted()):
                    await site.api.status()
        await restore(home, backup)
        async with stopped.serving():
            world.admin = stopped.admin()
            if moment == "announced" and is_finished:
                # It shows itself beneath the root of before, and its sites have let that go.
                await site.until(lambda status: status["upstream"]["error"] == "wrong_root")
                assert (await world.rotate("root", "proceed"))["phase"] == "in use"
            await site.until(lambda status: status["upstream"]["connected"])
            await world.followed(what, "in use")
            await world.rotate(what, "finish")
            await world.admin.put("networks", "later", {})
            await site.heard(stopped)
            while any(len(trusted) > 1 for trusted in world.trusted()):
                await site.api.status()
            assert len(set(world.trusted())) == 1
            await site.until_node("node-1", state="realised", connected=True)


class Hurried(dict[str, str]):
    """An FSM's authorities; once the old root was read somebody drops it, if nothing is in his way."""

    def __init__(self, authorities: Mapping[str, str], credentials: FSMCredentials) -> None:
        super().__init__(authorities)
        self.credentials = credentials
        self.was_in_time = False

    def items(self) -> Any:
        for name, place in super().items():
            yield name, place
            if name == "root" and not self.was_in_time and self.is_free():
                self.was_in_time = True
                drop_old_root(self.credentials)

    def is_free(self) -> bool:
        with (self.credentials.folder / LOCK_FILE).open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True


async def test_regression_a_backup_has_no_half_of_an_exchange(stopped: FSM, tmp_path: Path) -> None:
    """It could have the old root from before the exchange, and from after it what isn't beneath."""
    home, credentials = (
        home_of(stopped.data, stopped.settings),
        FSMCredentials.beneath(stopped.data),
    )
    announce_root(credentials, clock=stopped.clock)
    take_root_into_use(credentials, clock=stopped.clock)
    hurried = Hurried(home.authorities, credentials)
    await back_up(replace(home, authorities=hurried), tmp_path / "fsm.hanse")
    assert not hurried.was_in_time

    other = tmp_path / "restored"
    await restore(home_of(other, stopped.settings), tmp_path / "fsm.hanse")
    restored = FSMCredentials.beneath(other)
    assert restored.phase() is Phase.IN_USE
    drop_old_root(restored)
    issue_issuing(restored, clock=stopped.clock)
    assert restored.roots() == (credentials.next_root.load_public()[0][0],)
