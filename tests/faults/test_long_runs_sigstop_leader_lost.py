"""Long runs (hours), SIGSTOP for a minute, leader lost.

Flat memory and descriptors; leases with fencing; no task runs twice.  Here: a manager that stands
still, alone and while it holds what others wait for.  Also: tests/soak (memory and descriptors
over an hour), `make chaos` (SIGSTOP of every program under load).  There is no leader yet: a
task's place is the transaction that does it, and the lock that all writers queue for is the lease.
"""

import asyncio
import signal
from pathlib import Path

import pytest

from fsm.settings import FILE, Listen
from shared.cli.setup import store_settings
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.failpoints import armed
from shared.ids import Key
from shared.store.contract import Draft, Store, Transaction
from shared.store.sql import open_store
from tests.e2e.hosts import Host
from tests.integration.fsm.harness import FSM
from tests.servers import free_port

WEB = Key("Network", "common", "federation", "web")


async def test_what_was_asked_of_a_stopped_manager_is_done_once_when_it_goes_on(
    stopped: FSM, tmp_path: Path
) -> None:
    port = free_port()
    store_settings(stopped.data / FILE, {"listen": {"host": "127.0.0.1", "port": port}})
    stopped.settings = stopped.settings.model_copy(update={"listen": Listen(port=port)})
    (home := tmp_path / "home").mkdir()
    host = Host(home)
    admin = stopped.admin()
    try:
        running = host.start("fsm", "serve", "--data", str(stopped.data))
        await asyncio.to_thread(running.until, "serving at")
        await admin.put("networks", "before", {})
        running.process.send_signal(signal.SIGSTOP)
        asked = [
            asyncio.ensure_future(admin.put("networks", f"during-{number}", {}))
            for number in range(5)
        ]
        done, _ = await asyncio.wait(asked, timeout=2)
        assert not done
        running.process.send_signal(signal.SIGCONT)
        revisions = [each["metadata"]["revision"] for each in await asyncio.gather(*asked)]
        assert len(set(revisions)) == 5
        for number in range(5):
            path = f"/api/v1/networks/during-{number}/history"
            assert len((await admin.client.get(path)).json()["items"]) == 1
    finally:
        for client in stopped.clients:
            await client.close()
        host.end()


async def write(store: Store, number: int) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.put(Draft(WEB, {"vlan": number}))

    await store.transact(work, request_id=f"write {number}")


@pytest.mark.postgres
async def test_a_manager_that_stands_still_with_the_lock_loses_it_and_can_do_no_harm(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fencing: who was given up commits nothing, though he doesn't know of it."""
    monkeypatch.setattr("shared.store.engine.LOCK_WAIT", 1.0)
    stuck = await open_store(postgres_url, clock=SystemClock(), create=True)
    other = await open_store(postgres_url, clock=SystemClock())
    # The first to come so far stands still: all is written, nothing committed, the lock is held.
    with armed("store.flush.after=sleep(4)*1"):
        late = asyncio.ensure_future(write(stuck, 1))
        await asyncio.sleep(0.3)
        while True:
            try:
                await write(other, 2)
            except Unavailable:
                continue
            break
        assert not late.done()
        with pytest.raises(Unavailable):
            await late
    assert [each.after and each.after.spec for each in await other.history(WEB)] == [{"vlan": 2}]
    # He asks again under the same id, and then it counts, once.
    await write(stuck, 1)
    await write(stuck, 1)
    found = [each.after and each.after.spec for each in await other.history(WEB)]
    assert found == [{"vlan": 1}, {"vlan": 2}]
    await stuck.close()
    await other.close()
