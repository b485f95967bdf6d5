"""Disk full, slow disk.

507 with the reason; reads and enforcement go on; telemetry is shed first; the event loop never
lags 100 ms.  Here: full disks beneath a running FSM, SDSP and agent, and a slow disk beneath an
FSM.  Also: tests/contract/test_store_faults.py (a full disk beneath a store),
tests/unit/dsn/enforce/test_last_good.py, tests/unit/shared/pki/test_credentials.py.  There is no
telemetry to shed yet.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StorageFull
from shared.failpoints import armed
from shared.http.peer import PeerClient
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import RoadSite, document, joined
from tests.servers import require


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 4 MiB at a folder."""
    require("mount", "umount", root=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave nothing free on a folder's file system while the block runs."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                os.write(file.fileno(), bytes(4096))
        except OSError:
            pass
    try:
        yield
    finally:
        ballast.unlink()


async def put_status(client: PeerClient, name: str) -> tuple[int, dict[str, Any]]:
    """Write a Network until the disk has no room for one; return the refusal."""
    for number in range(1000):
        spec = {"subnets": [f"10.{number // 256}.{number % 256}.0/24"]}
        try:
            await client.put(f"/api/v1/networks/{name}", document("Network", name, spec))
        except StorageFull as exc:
            return number, {"code": exc.code, "message": exc.message}
    raise AssertionError("the disk never was full")


@pytest.mark.kernel
async def test_on_a_full_disk_the_fsm_answers_507_says_why_and_goes_on_reading(
    stopped: FSM, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small") as disk:
        stopped.settings = stopped.settings.model_copy(
            update={"database": f"sqlite:///{disk / 'fsm.sqlite'}"}
        )
        for file in stopped.data.glob("fsm.sqlite*"):
            (disk / file.name).write_bytes(file.read_bytes())
        async with stopped.serving():
            admin = stopped.admin()
            await admin.put("networks", "before", {})
            with filled(disk):
                _, refusal = await put_status(admin.client, "more")
                assert refusal["code"] == "storage_full"
                assert "disk" in refusal["message"]
                assert "free some space" in refusal["message"]
                found = await admin.client.get("/api/v1/networks/before")
                assert found.json()["metadata"]["name"] == "before"
                listed = (await admin.client.get("/api/v1/networks")).json()["items"]
            await admin.put("networks", "after", {})
            now = (await admin.client.get("/api/v1/networks")).json()["items"]
            assert {each["metadata"]["name"] for each in now} == {
                *(each["metadata"]["name"] for each in listed),
                "after",
            }


@asynccontextmanager
async def on_small_disk(fsm: FSM, folder: Path) -> AsyncIterator[tuple[RoadSite, Path]]:
    """A serving site whose database lies on a small disk."""
    with small_disk(folder / "small") as disk:
        async with joined(folder, fsm) as site:
            for file in site.data.glob("sdsp.sqlite*"):
                (disk / file.name).write_bytes(file.read_bytes())
            site.settings = site.settings.model_copy(
                update={"database": f"sqlite:///{disk / 'sdsp.sqlite'}"}
            )
            async with site.serving():
                yield site, disk


async def write_until_full(site: RoadSite) -> None:
    for number in range(1000):
        await site.put("Network", "local", {"vlan": number % 4094 + 1})


@pytest.mark.kernel
async def test_a_site_whose_disk_is_full_enforces_what_it_has_and_takes_the_rest_over_later(
    fsm: FSM, tmp_path: Path
) -> None:
    async with on_small_disk(fsm, tmp_path) as (site, disk):
        admin = fsm.admin()
        await site.until(lambda status: bool(status["policies"]))
        await site.populate()
        await site.join_node("node-1", tmp_path / "n1")
        async with site.agent(tmp_path / "n1"):
            good = await site.until_node("node-1", state="realised")
            revision = (await site.api.status())["upstream"]["position"]["revision"]
            with filled(disk):
                with pytest.raises(StorageFull, match="the disk of the database is full"):
                    await write_until_full(site)
                # What the FSM says from now on can't be taken over, and is not acknowledged.
                spec = {"rules": [{"name": "no", "from": "any", "to": "any", "action": "deny"}]}
                await admin.put("securitypolicies", "late", spec)
                status = await site.until(lambda found: not found["upstream"]["connected"])
                assert status["upstream"]["error"] == "storage_full"
                assert status["upstream"]["position"]["revision"] == revision
                (at_fsm,) = (await admin.status())["sites"]
                assert at_fsm["revision"] <= revision
                # People read, and the node enforces what it had.
                assert (await site.api.get("Node", "node-1")).name == "node-1"
                node = await site.node("node-1")
                assert node["readBack"] == good["readBack"] == node["wanted"]["hash"]
            await site.heard(fsm)
            found = await site.until_node("node-1", state="realised")
            while found["readBack"] == good["readBack"]:
                found = await site.until_node("node-1", state="realised")
            history = [
                each
                async for each in site.api.history("SecurityPolicy", "late", scope="federation")
            ]
            assert len(history) == 1


async def test_an_agent_whose_disk_is_full_enforces_all_the_same(
    site: RoadSite, tmp_path: Path
) -> None:
    await site.populate()
    await site.join_node("node-1", tmp_path / "n1")
    with armed("dsn.last_good.created=raise(ENOSPC)*3"):
        async with site.agent(tmp_path / "n1"):
            await site.until_node("node-1", state="realised")
            # Written by the agent's own third attempt; pytest-timeout ends a wait for ever.
            while not (tmp_path / "n1" / "last-good.json").exists():
                await site.node("node-1")


class Lag:
    """How long the event loop was away at most, less what it waited for a processor."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        schedule = Path(f"/proc/self/task/{os.getpid()}/schedstat")
        while True:
            began, waited = time.monotonic(), int(schedule.read_text().split()[1])
            await asyncio.sleep(0.005)
            queued = (int(schedule.read_text().split()[1]) - waited) / 1e9
            self.longest = max(self.longest, time.monotonic() - began - 0.005 - queued)


async def test_a_slow_disk_holds_writers_up_and_nobody_else(fsm: FSM) -> None:
    admin = fsm.admin()
    await admin.put("networks", "read", {})
    lag = Lag()
    measuring = asyncio.ensure_future(lag.run())
    with armed("store.flush.disk=sleep(2)"):
        writing = asyncio.ensure_future(admin.put("networks", "slow", {}))
        for _ in range(20):
            found = await admin.client.get("/api/v1/networks/read")
            assert found.json()["metadata"]["name"] == "read"
        assert not writing.done(), "twenty reads were answered while one write waits for its disk"
        await writing
    measuring.cancel()
    await asyncio.wait([measuring])
    assert lag.longest < 0.1
