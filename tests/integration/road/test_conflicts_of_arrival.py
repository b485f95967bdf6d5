"""Conflicts that only the order of arrival tells: what came late, and what came back older."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fsm.home import home_of
from tests.integration.fsm.harness import FSM
from tests.integration.road.test_conflicts import conflicts, local, rule, settle, until_rules
from tests.integration.road.test_restored import back_up, restore
from tests.integration.road.world import RoadSite, declare, joined


def open_ones(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    types = ("name_taken", "upstream_went_back")
    return [each for each in found if each["type"] in types and each.get("state", "open") == "open"]


async def some_open(site: RoadSite) -> Mapping[str, Any]:
    (found,) = open_ones(await conflicts(site, lambda each: bool(open_ones(each))))
    return found


async def populated(fsm: FSM, site: RoadSite) -> None:
    await site.heard(fsm)
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})


async def test_what_a_restored_fsm_says_can_be_kept_as_it_was_known(
    stopped: FSM, tmp_path: Path
) -> None:
    backup = tmp_path / "fsm.hanse"
    home = home_of(stopped.data, stopped.settings)
    newer = {"enforcement": "mandatory", "rules": [rule("newer", "deny")]}
    async with AsyncExitStack() as stack:
        async with stopped.serving():
            await declare(stopped.admin())
            site = await stack.enter_async_context(joined(tmp_path, stopped))
            async with site.serving():
                await populated(stopped, site)
                await back_up(home, backup)
                await stopped.admin().put("securitypolicies", "p", newer)
                await site.heard(stopped)
        await restore(home, backup)
        async with site.serving(), stopped.serving():
            back = await some_open(site)
            assert (back["type"], back["urgency"]) == ("upstream_went_back", "immediate")
            assert [each["name"] for each in back["base"]["rules"]] == ["newer"]
            # What came counts meanwhile: it may be an emergency block.
            await until_rules(site, [("in", "allow")])
            settled = await settle(site, back["name"], "keepLocal")
            assert settled["state"] == "resolved"
            await until_rules(site, [("newer", "deny")])
            await site.put("Network", "later", {"subnets": ["10.9.0.0/24"]})
            assert not open_ones(await conflicts(site, lambda _: True))


async def test_a_default_policy_that_comes_after_its_namesake_is_asked_about_once(
    fsm: FSM, site: RoadSite
) -> None:
    await populated(fsm, site)
    await site.put("SecurityPolicy", "q", local(rule("mine")))
    await fsm.admin().put("securitypolicies", "q", {"rules": [rule("theirs", "deny")]})
    taken = await some_open(site)
    assert (taken["type"], taken["facts"]["counts"]) == ("name_taken", "local")
    await until_rules(site, [("in", "allow"), ("mine", "allow")])
    assert (await settle(site, taken["name"], "keepLocal"))["state"] == "resolved"
    await until_rules(site, [("in", "allow"), ("mine", "allow")])
    await site.put("Network", "later", {"subnets": ["10.9.0.0/24"]})
    assert not open_ones(await conflicts(site, lambda _: True))


async def test_whoever_writes_the_local_one_since_has_seen_it(fsm: FSM, site: RoadSite) -> None:
    await populated(fsm, site)
    await site.put("SecurityPolicy", "q", local(rule("mine")))
    await fsm.admin().put("securitypolicies", "q", {"rules": [rule("theirs", "deny")]})
    taken = await some_open(site)
    await site.put("SecurityPolicy", "q", local(rule("mine", log=True)))

    def closed(found: Sequence[Mapping[str, Any]]) -> bool:
        return any(each["name"] == taken["name"] and "closed" in each for each in found)

    found = await conflicts(site, closed)
    (gone,) = [each for each in found if each["name"] == taken["name"]]
    assert "written again" in gone["closed"]["why"]
