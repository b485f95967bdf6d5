"""A change goes from site to site: two real SDSPs, a node, and an FSM that waits for what they say."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.integration.fsm.harness import FSM
from tests.integration.fsm.test_rollouts import POLICY
from tests.integration.road.world import MANDATORY, NAMES, RoadSite, document, joined

DENY = {**MANDATORY, "rules": [{**MANDATORY["rules"][0], "action": "deny"}]}  # type: ignore[index]  # a list of rules
ORDER = [{"matchLabels": {"env": "test"}}]


async def action_at(site: RoadSite) -> str:
    rules = (await site.api.resolve())["rules"]
    return next((str(each["action"]) for each in rules if each["policy"] == "p"), "none")


async def until_action(site: RoadSite, action: str) -> None:
    while await action_at(site) != action:
        pass


async def progress(fsm: FSM, name: str) -> Any:
    return (await fsm.admin().client.get(f"/api/v1/rollouts/{name}/progress")).json()


async def until_state(fsm: FSM, name: str, state: str) -> None:
    while (await progress(fsm, name))["rollout"]["spec"].get("state", "running") != state:
        pass


async def words(fsm: FSM, name: str) -> dict[str, tuple[str, str | None]]:
    waves = (await progress(fsm, name))["waves"]
    return {each["site"]: (each["word"], each["code"]) for wave in waves for each in wave["sites"]}


async def test_the_second_site_has_it_when_the_firsts_node_enforces_it(
    fsm: FSM, tmp_path: Path
) -> None:
    admin = fsm.admin()
    await admin.put("sites", "fra", {"serverNames": NAMES}, labels={"env": "test"})
    async with AsyncExitStack() as stack:
        fra, sfo = [
            await stack.enter_async_context(joined(tmp_path, fsm, name=name))
            for name in ("fra", "sfo")
        ]
        for site in (fra, sfo):
            await stack.enter_async_context(site.serving())
            await site.until(lambda status: bool(status["policies"]))
        await fra.populate()
        await sfo.put("Network", "A", {"subnets": ["10.1.0.0/24"]})
        await until_action(sfo, "allow")
        await fra.join_node("node-1", tmp_path / "node")
        wish = {"object": document("SecurityPolicy", "p", DENY), "order": ORDER, "name": "it"}
        await admin.client.post("/api/v1/rollouts/start", wish)
        await until_action(fra, "deny")
        assert await action_at(sfo) == "allow"
        # The site has it, but its node doesn't enforce it: the FSM waits.
        while (found := await words(fsm, "it"))["fra"] != ("pending", "nodes_pending"):
            assert found["fra"][0] == "pending"
        assert found["sfo"] == ("waits", None)

        async with fra.agent(tmp_path / "node"):
            await until_action(sfo, "deny")
            await until_state(fsm, "it", "done")
            assert await words(fsm, "it") == {"fra": ("done", None), "sfo": ("done", None)}
            # The end is nothing to the sites: nothing is written there, nothing compiled.
            written = [await revision(site) for site in (fra, sfo)]
            wanted = (await fra.node("node-1"))["wanted"]
            for site in (fra, sfo):
                await site.heard(fsm)
            assert [await revision(site) for site in (fra, sfo)] == written
            assert (await fra.node("node-1"))["wanted"] == wanted


async def test_a_site_that_was_away_catches_up_with_what_its_turn_has_brought(
    fsm: FSM, site: RoadSite
) -> None:
    """And an abort brings back the version before, which is no older one."""
    admin = fsm.admin()
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})
    await until_action(site, "allow")
    site.wire.cut()
    await site.until(lambda status: not status["upstream"]["connected"])
    wish = {"object": document("SecurityPolicy", "p", DENY), "name": "it", "patience": "8h"}
    await admin.client.post("/api/v1/rollouts/start", wish)
    while (await words(fsm, "it"))["sfo"][0] == "waits":
        pass
    assert await action_at(site) == "allow"
    site.wire.mend()
    await until_action(site, "deny")
    await until_state(fsm, "it", "done")

    allow = document("SecurityPolicy", "p", MANDATORY)
    none = {"object": allow, "name": "back", "order": [{"matchLabels": {"env": "prod"}}]}
    site.wire.cut()
    await site.until(lambda status: not status["upstream"]["connected"])
    await admin.client.post("/api/v1/rollouts/start", {**none, "patience": "8h"})
    while (await words(fsm, "back"))["sfo"][0] == "waits":
        pass
    await admin.client.post("/api/v1/rollouts/back/abort", {"reason": "no"})
    site.wire.mend()
    status = await site.heard(fsm)
    assert await action_at(site) == "deny"
    assert status["held"] == []
    while (found := (await admin.status(policy="p"))["policies"][0]["sites"][0])[
        "state"
    ] != "realised":
        pass
    assert found["generation"] == 4


async def test_a_paused_site_goes_on_as_it_was(fsm: FSM, site: RoadSite) -> None:
    admin = fsm.admin()
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})
    await until_action(site, "allow")
    before = await revision(site)
    await admin.client.post("/api/v1/sites/sfo/pause", {"reason": "smoke"})
    status = await site.heard(fsm)
    assert status["held"] == []
    assert await revision(site) == before
    pause = status["upstream"]["paused"]
    assert (pause["reason"], pause["by"]) == ("smoke", "user:admin")
    await admin.put("securitypolicies", "p", DENY)
    await admin.put("securitypolicies", "q", DENY)
    await admin.delete("securitypolicies", "q")
    await admin.put("securitypolicies", "r", DENY)
    await site.heard(fsm)
    assert await action_at(site) == "allow"
    assert {each["name"] for each in (await site.api.status())["policies"]} == {"p"}
    await admin.client.post("/api/v1/sites/sfo/resume", {"reason": "over"})
    await until_action(site, "deny")
    assert {each["name"] for each in (await site.api.status())["policies"]} == {"p", "r"}
    status = await site.heard(fsm)
    assert (status["held"], status["upstream"]["paused"]) == ([], None)


async def revision(site: RoadSite) -> int:
    """Return the site's own revision that last wrote policy p."""
    assert site.running is not None
    found = await site.running.store.latest(POLICY)
    assert found is not None
    return int(found.revision)
