"""Ways out where a name was taken, or an exception's target went; and many conflicts at once."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.integration.fsm.harness import FSM
from tests.integration.road.test_conflicts import conflicts, policy, spec_of
from tests.integration.road.test_conflicts import rule as to_a
from tests.integration.road.test_ways_out import decide, of, refused, rule, ways, with_network
from tests.integration.road.world import RoadSite, joined


async def one(site: RoadSite, kind: str) -> dict[str, Any]:
    found = await conflicts(site, of(kind))
    return next(each for each in found if each["type"] == kind)


async def taken(fsm: FSM, site: RoadSite) -> dict[str, Any]:
    """Let a mandatory policy come that bears the name of one of the site's own."""
    await with_network(fsm, site)
    await site.put("SecurityPolicy", "guests", {"rules": [rule("mine", "80")]})
    await fsm.admin().put("securitypolicies", "guests", policy(rule("theirs", "22")))
    await site.heard(fsm)
    return await one(site, "name_taken")


async def until_own(site: RoadSite, *wanted: str) -> None:
    """Ask until just these of both sides' rules are in force; pytest-timeout ends it."""
    while True:
        found = [each["rule"] for each in (await site.api.resolve())["rules"]]
        if [each for each in found if each in ("mine", "theirs")] == list(wanted):
            return


async def test_a_policy_whose_name_was_taken_is_kept_as_an_exception(
    fsm: FSM, site: RoadSite
) -> None:
    found = await taken(fsm, site)
    await until_own(site, "theirs")
    offered = await ways(site, found["name"])
    assert set(offered) >= {"acceptGlobal", "keepLocal", "merge"}
    assert offered["keepLocal"]["suggestedExpiresAt"]
    assert offered["keepLocal"]["impact"]["newlyAllowed"]["example"]["port"] == 80
    await decide(site, found["name"], "keepLocal")
    await until_own(site, "mine")
    assert await refused(site.api.get("SecurityPolicy", "guests", scope="site")) == "not_found"
    exception = spec_of(await site.api.get("Override", "guests"))
    assert exception["basedOn"]["spec"]["rules"][0]["name"] == "theirs"
    await site.api.undo_conflict(found["name"], reason="not so")
    await until_own(site, "theirs")
    assert await refused(site.api.get("Override", "guests")) == "not_found"
    again = await one(site, "name_taken")
    assert again["name"] == found["name"]
    await decide(site, found["name"], "merge")
    await until_own(site, "theirs", "mine")


async def test_a_suspended_policy_that_was_deleted_comes_back_suspended(
    fsm: FSM, site: RoadSite
) -> None:
    """A write of it would be refused; taken back, it stands where it stood."""
    found = await taken(fsm, site)
    before = await site.api.get("SecurityPolicy", "guests", scope="site")
    await decide(site, found["name"], "acceptGlobal")
    await site.api.undo_conflict(found["name"], reason="not so")
    after = await site.api.get("SecurityPolicy", "guests", scope="site")
    assert after.document["spec"] == before.document["spec"]
    await until_own(site, "theirs")
    assert (await one(site, "name_taken"))["name"] == found["name"]


async def test_an_exception_without_its_target_becomes_the_site_s_own(
    fsm: FSM, site: RoadSite
) -> None:
    await with_network(fsm, site)
    await fsm.admin().put("securitypolicies", "guests", policy(rule("theirs", "22")))
    await site.heard(fsm)
    target = {"kind": "SecurityPolicy", "name": "guests"}
    mine = {"rules": [rule("mine", "80")]}
    await site.put("Override", "keep", {"target": target, "reason": "line", "spec": mine})
    await until_own(site, "mine")
    await fsm.admin().delete("securitypolicies", "guests")
    await site.heard(fsm)
    found = await one(site, "deleted_upstream")
    await until_own(site)
    assert set(await ways(site, found["name"])) >= {"acceptGlobal", "keepLocal"}
    await decide(site, found["name"], "keepLocal")
    await until_own(site, "mine")
    assert await refused(site.api.get("Override", "keep")) == "not_found"
    await site.api.undo_conflict(found["name"], reason="not so")
    await until_own(site)
    assert spec_of(await site.api.get("Override", "keep"))["basedOn"]


async def test_one_conflict_for_many_rules_stays_one_across_a_restart(
    fsm: FSM, tmp_path: Path
) -> None:
    def shadowed(count: int) -> dict[str, Any]:
        every = to_a("all", to=[{"network": "B"}])
        return {"rules": [every, *(rule(f"r{number}", "80") for number in range(count))]}

    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(joined(tmp_path, fsm))
        async with site.serving():
            await with_network(fsm, site)
            await site.put("SecurityPolicy", "ours", shadowed(21))
            many = await one(site, "shadowed_rule")
            assert many["facts"]["count"] == 21
        async with site.serving():
            await site.put("SecurityPolicy", "ours", shadowed(15))

            def fewer(found: list[dict[str, Any]]) -> bool:
                return any(each.get("facts", {}).get("count") == 15 for each in found)

            found = await conflicts(site, fewer)
            ours = [each for each in found if each["target"]["name"] == "ours"]
            assert [each["name"] for each in ours] == [many["name"]]
            await decide(site, many["name"], "acceptGlobal")
            own = spec_of(await site.api.get("SecurityPolicy", "ours"))
            assert [each["name"] for each in own["rules"]] == ["all"]
