"""A rollout whose FSM is killed at one of its steps."""

import asyncio
from pathlib import Path

import pytest

from fsm.settings import FILE, Listen
from shared.cli.setup import store_settings
from shared.failpoints import EXIT_STATUS
from tests.e2e.hosts import Host
from tests.integration.fsm.harness import FSM
from tests.servers import free_port

PLACES = ("fsm.rollout.before", "fsm.rollout.after")
POLICY = {
    "apiVersion": "hanse/v1",
    "kind": "SecurityPolicy",
    "metadata": {"name": "p"},
    "spec": {"rules": [{"name": "r", "from": "any", "to": "any", "action": "deny"}]},
}


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("place", PLACES)
async def test_a_rollout_goes_on_where_its_fsm_was_killed_and_makes_no_step_twice(
    stopped: FSM, tmp_path: Path, place: str, step: int
) -> None:
    port = free_port()
    store_settings(stopped.data / FILE, {"listen": {"host": "127.0.0.1", "port": port}})
    stopped.settings = stopped.settings.model_copy(update={"listen": Listen(port=port)})
    dying, living = (Host(tmp_path / name) for name in ("dying", "living"))
    dying.environ = {"HANSE_FAILPOINTS": f"{place}=exit@{step}"}
    for host in (dying, living):
        host.home.mkdir()
    try:
        running = dying.start("fsm", "serve", "--data", str(stopped.data))
        await asyncio.to_thread(running.until, "serving at")
        admin = stopped.admin()
        for site, stage in (("fra", "test"), ("sfo", "prod")):
            await admin.put("sites", site, {}, labels={"stage": stage})
        # Nobody has joined as these sites: each step follows the one before at once.
        wish = {"object": POLICY, "order": [{"matchLabels": {"stage": "test"}}], "name": "it"}
        await admin.client.post("/api/v1/rollouts/start", wish)
        assert await asyncio.to_thread(running.process.wait) == EXIT_STATUS

        running = living.start("fsm", "serve", "--data", str(stopped.data))
        await asyncio.to_thread(running.until, "serving at")
        admin = stopped.admin()
        while True:
            path = "/api/v1/rollouts/it/history"
            versions = (await admin.client.get(path)).json()["items"]
            spec = versions[0]["object"]["spec"]
            if spec.get("state") == "done":
                break
        assert [each["sites"] for each in spec["reached"]] == [["fra"], ["sfo"]]
        assert len(versions) == 4, "it began, reached fra, reached sfo, and was done"
    finally:
        for client in stopped.clients:
            await client.close()
        dying.end()
        living.end()
