"""Ways out of conflicts at a real site: narrowed rules, exceptions, decisions taken back."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sdsp.conflicts.deadlines import ConflictSettings
from shared.errors import HanseError
from tests.integration.fsm.harness import FSM
from tests.integration.road.test_conflicts import conflicts, parted, policy, spec_of, until_rules
from tests.integration.road.test_conflicts import rule as to_a
from tests.integration.road.world import RoadSite, joined

PORTS = ("22", "80", "443")


def rule(name: str, *ports: str, action: str = "allow") -> dict[str, Any]:
    services = [{"protocol": "tcp", "ports": [each]} for each in ports]
    return to_a(name, action, to=[{"network": "B"}], services=services)


async def with_network(fsm: FSM, site: RoadSite) -> None:
    """Declare a network that no other policy names."""
    await fsm.admin().put("networks", "B", {})
    await site.heard(fsm)
    await site.put("Network", "B", {"subnets": ["10.1.0.0/24"]})
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})


def of(kind: str, state: str = "open") -> Callable[[list[dict[str, Any]]], bool]:
    def holds(found: list[dict[str, Any]]) -> bool:
        return any(each["type"] == kind and each.get("state", "open") == state for each in found)

    return holds


async def contradicted(fsm: FSM, site: RoadSite) -> dict[str, Any]:
    """Let a mandatory policy deny a part of what the site allows; return the conflict."""
    await with_network(fsm, site)
    await fsm.admin().put("securitypolicies", "block", policy(rule("no", "22", action="deny")))
    await site.heard(fsm)
    await site.put("SecurityPolicy", "ours", {"rules": [rule("in", *PORTS)]})
    found = await conflicts(site, of("contradicts_mandatory"))
    return next(each for each in found if each["type"] == "contradicts_mandatory")


async def ways(site: RoadSite, name: str) -> dict[str, Mapping[str, Any]]:
    return {each["name"]: each for each in await site.api.impact_of_conflict(name)}


async def decide(site: RoadSite, name: str, proposal: str) -> Mapping[str, Any]:
    return spec_of(await site.api.decide_conflict(name, proposal, reason="seen"))


async def until_verdict(site: RoadSite, port: int, wanted: str) -> None:
    """Ask until it is so: a write is compiled a moment after its answer."""
    flow = {"from": "192.0.2.1", "to": "10.1.0.5", "protocol": "tcp", "port": port}
    while (await site.api.trace(flow))["outcome"] != wanted:
        pass


async def refused(awaitable: Any) -> str:
    with pytest.raises(HanseError) as found:
        await awaitable
    return found.value.code


async def test_a_contradicted_rule_is_narrowed_to_what_takes_effect(
    fsm: FSM, site: RoadSite
) -> None:
    found = await contradicted(fsm, site)
    offered = await ways(site, found["name"])
    assert list(offered) == ["acceptGlobal", "keepLocal", "narrow"]
    assert not offered["narrow"]["impact"]["changes"]
    decided = await decide(site, found["name"], "narrow")
    assert decided["decision"]["wrote"][0]["name"] == "ours"
    own = spec_of(await site.api.get("SecurityPolicy", "ours"))
    assert own["rules"] == [rule("in", "80", "443")]
    # The next findings don't bring it back.
    await fsm.admin().put("networks", "later", {})
    await site.heard(fsm)
    assert not of("contradicts_mandatory")(await conflicts(site, lambda _: True))


async def test_what_a_proposal_was_shown_to_write_is_what_is_written(
    fsm: FSM, site: RoadSite
) -> None:
    """What it comes to is made when somebody asks: the conflict itself may say the same."""
    name = (await contradicted(fsm, site))["name"]
    shown = (await ways(site, name))["narrow"]["digest"]
    more = {"rules": [rule("in", *PORTS), rule("more", "8080")]}
    await site.put("SecurityPolicy", "ours", more)

    async def decide_as(digest: str) -> str | None:
        try:
            await site.api.decide_conflict(name, "narrow", reason="seen", digest=digest)
        except HanseError as exc:
            return exc.code
        return None

    assert await decide_as(shown) == "conflict_outdated"
    assert spec_of(await site.api.get("SecurityPolicy", "ours")) == more
    while (now := (await ways(site, name))["narrow"]["digest"]) == shown:
        pass  # the review is a moment behind
    assert await decide_as(now) is None
    own = spec_of(await site.api.get("SecurityPolicy", "ours"))
    assert own["rules"] == [rule("in", "80", "443"), rule("more", "8080")]


async def test_a_site_s_people_are_told_of_a_conflict_that_is_late(
    fsm: FSM, tmp_path: Path
) -> None:
    def times_told(status: dict[str, Any]) -> int:
        events = [each for each in status["events"] if each["type"] == "conflict.overdue"]
        return sum(name in each["message"] for each in events)

    async with joined(tmp_path, fsm) as site:
        hurried = {"conflicts": ConflictSettings(normal=0.001)}
        site.settings = site.settings.model_copy(update=hurried)
        async with site.serving():
            name = (await contradicted(fsm, site))["name"]
            # Whatever is judged next, conflicts are looked through.
            await site.put("SecurityPolicy", "later", {"rules": [rule("later", "9090")]})
            # There may be others that are late.
            await site.until(lambda found: times_told(found) == 1)
        # Once, also by who starts next.
        async with site.serving():
            await site.put("SecurityPolicy", "later", {"rules": [rule("later", "9091")]})
            await site.until(lambda found: bool(found["policies"]))
            assert times_told(await site.api.status()) == 1


async def test_a_contradicted_rule_is_kept_by_an_exception_to_what_contradicts_it(
    fsm: FSM, site: RoadSite
) -> None:
    found = await contradicted(fsm, site)
    kept = (await ways(site, found["name"]))["keepLocal"]
    assert kept["suggestedExpiresAt"]
    assert kept["impact"]["newlyAllowed"]["example"]["port"] == 22
    await until_verdict(site, 22, "deny")
    until = site.clock.now() + timedelta(days=90)
    await site.api.decide_conflict(found["name"], "keepLocal", reason="line 7", expires_at=until)
    await until_verdict(site, 22, "allow")
    exception = spec_of(await site.api.get("Override", "block"))
    assert exception["reason"] == "line 7"
    assert exception["basedOn"]["spec"]["rules"][0]["name"] == "no"
    assert [each["name"] for each in exception["spec"]["rules"]] == ["in", "no"]
    # The rule waits for the time after the exception, and that is no conflict.
    left = await conflicts(site, lambda _: True)
    assert [each["type"] for each in left if each.get("state", "open") == "open"] == []


async def test_a_decision_is_taken_back_until_it_is_superseded(fsm: FSM, site: RoadSite) -> None:
    found = await contradicted(fsm, site)
    name = found["name"]
    assert await refused(site.api.undo_conflict(name, reason="too soon")) == "not_decided"
    before = await site.api.get("SecurityPolicy", "ours")
    await decide(site, name, "narrow")
    undone = spec_of(await site.api.undo_conflict(name, reason="the vendor was wrong"))
    assert "decision" not in undone
    assert undone.get("state", "open") == "open"
    assert undone["undone"]["proposal"] == "narrow"
    after = await site.api.get("SecurityPolicy", "ours")
    assert after.document["spec"] == before.document["spec"]
    (record,) = [each async for each in site.api.audit(text="conflict.undo")]
    assert record.reason == "the vendor was wrong"
    # It stays open, though the findings of before didn't have it.
    await site.put("Network", "other", {"subnets": ["10.9.0.0/24"]})
    assert of("contradicts_mandatory")(await conflicts(site, lambda _: True))

    await decide(site, name, "acceptGlobal")
    assert await refused(site.api.get("SecurityPolicy", "ours")) == "not_found"
    await site.put("SecurityPolicy", "ours", {"rules": [rule("other", "80")]})
    assert await refused(site.api.undo_conflict(name, reason="again")) == "decision_superseded"


async def test_what_changed_upstream_supersedes_a_decision(fsm: FSM, site: RoadSite) -> None:
    found = await contradicted(fsm, site)
    await decide(site, found["name"], "narrow")
    denies = policy(rule("no", "22", "23", action="deny"))
    await fsm.admin().put("securitypolicies", "block", denies)
    await site.heard(fsm)
    with pytest.raises(HanseError) as superseded:
        await site.api.undo_conflict(found["name"], reason="again")
    assert superseded.value.code == "decision_superseded"
    assert "SecurityPolicy" in superseded.value.message
    assert "block" in superseded.value.message


async def test_an_exception_that_was_deleted_comes_back_as_it_was(fsm: FSM, site: RoadSite) -> None:
    found = await parted(fsm, site, theirs=policy(to_a("a", "reject"), to_a("b")))
    before = await site.api.get("Override", "line-7")
    await decide(site, found["name"], "acceptGlobal")
    await until_rules(site, [("a", "reject"), ("b", "allow")])
    await site.api.undo_conflict(found["name"], reason="not yet")
    after = await site.api.get("Override", "line-7")
    assert after.document["spec"] == before.document["spec"]
    await until_rules(site, [("a", "deny"), ("b", "allow")])
    again = await conflicts(site, of("edited_both"))
    assert [each["name"] for each in again if each["type"] == "edited_both"] == [found["name"]]


async def test_overlapping_edits_are_narrowed_to_what_does_not_contradict(
    fsm: FSM, site: RoadSite
) -> None:
    await with_network(fsm, site)
    await fsm.admin().put("securitypolicies", "p", policy(rule("a", "80", "443")))
    await site.heard(fsm)
    target = {"kind": "SecurityPolicy", "name": "p"}
    mine = {"rules": [rule("a", "80", "443", "8443")]}
    await site.put("Override", "line-7", {"target": target, "reason": "line", "spec": mine})
    await fsm.admin().put("securitypolicies", "p", policy(rule("a", "443")))
    await site.heard(fsm)
    await conflicts(site, of("edited_both"))
    (found,) = [
        each for each in await conflicts(site, lambda _: True) if each["type"] == "edited_both"
    ]
    narrow = (await ways(site, found["name"]))["narrow"]
    assert narrow["spec"]["rules"] == [rule("a", "443", "8443")]
    await decide(site, found["name"], "narrow")
    for port, wanted in ((80, "deny"), (443, "allow"), (8443, "allow")):
        await until_verdict(site, port, wanted)


async def test_a_shadowed_rule_is_taken_note_of_or_goes(fsm: FSM, site: RoadSite) -> None:
    await with_network(fsm, site)
    await site.put("SecurityPolicy", "ours", {"rules": [rule("one", "80"), rule("two", "80")]})
    found = next(
        each
        for each in await conflicts(site, of("shadowed_rule"))
        if each["type"] == "shadowed_rule"
    )
    await decide(site, found["name"], "keepLocal")
    await site.put("Network", "other", {"subnets": ["10.9.0.0/24"]})
    assert not of("shadowed_rule")(await conflicts(site, lambda _: True))
    await site.api.undo_conflict(found["name"], reason="tidy up after all")
    await conflicts(site, of("shadowed_rule"))
    await decide(site, found["name"], "acceptGlobal")
    own = spec_of(await site.api.get("SecurityPolicy", "ours"))
    assert [each["name"] for each in own["rules"]] == ["one"]


async def test_a_clean_merge_is_applied_by_itself_where_the_policy_allows_it(
    fsm: FSM, site: RoadSite
) -> None:
    await fsm.admin().put("securitypolicies", "p", policy(to_a("a"), to_a("b"), autoMerge=True))
    await site.heard(fsm)
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})
    target = {"kind": "SecurityPolicy", "name": "p"}
    mine = {"rules": [to_a("a", "deny"), to_a("b")], "autoMerge": True}
    await site.put("Override", "line-7", {"target": target, "reason": "line", "spec": mine})
    await fsm.admin().put(
        "securitypolicies", "p", policy(to_a("a"), to_a("b", "deny"), autoMerge=True)
    )
    found = await conflicts(site, of("edited_both", "resolved"))
    (merged,) = [each for each in found if each["type"] == "edited_both"]
    assert (merged["decision"]["by"], merged["decision"]["proposal"]) == ("system", "merge")
    exception = spec_of(await site.api.get("Override", "line-7"))
    assert [each["action"] for each in exception["spec"]["rules"]] == ["deny", "deny"]
    records = [each async for each in site.api.audit(text="conflict.decide")]
    assert [each.identity for each in records] == ["system"]
    # Taken back, it waits for a person.
    await site.api.undo_conflict(merged["name"], reason="let me look")
    await site.put("Network", "B", {"subnets": ["10.1.0.0/24"]})
    await site.heard(fsm)
    assert of("edited_both")(await conflicts(site, lambda _: True))
