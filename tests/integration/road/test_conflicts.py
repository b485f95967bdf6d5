"""An exception and its target change while the site is cut off; the site finds it, and decides."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.cli.answers import Object
from shared.clock import SystemClock
from shared.errors import HanseError
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import RoadSite

TO_A: dict[str, Any] = {"from": "any", "to": [{"network": "A"}]}


def rule(name: str, action: str = "allow", **fields: Any) -> dict[str, Any]:
    return {"name": name, **TO_A, "action": action, **fields}


def policy(*rules: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"enforcement": "mandatory", "rules": list(rules), **fields}


def local(*rules: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"rules": list(rules), **fields}


async def override(site: RoadSite, spec: dict[str, Any]) -> None:
    target = {"kind": "SecurityPolicy", "name": "p"}
    await site.put("Override", "line-7", {"target": target, "reason": "vendor line", "spec": spec})


async def conflicts(
    site: RoadSite, holds: Callable[[list[dict[str, Any]]], bool]
) -> list[dict[str, Any]]:
    """Ask until it is so; pytest-timeout ends a wait for ever."""
    while True:
        found = [{**spec_of(each), "name": each.name} async for each in site.api.list("Conflict")]
        if holds(found):
            return found


async def settle(
    site: RoadSite, name: str, proposal: str, *, expires_at: datetime | None = None
) -> Mapping[str, Any]:
    found = await site.api.decide_conflict(name, proposal, reason="seen", expires_at=expires_at)
    return spec_of(found)


def spec_of(found: Object) -> Mapping[str, Any]:
    return dict(found.document["spec"])


def of(state: str) -> Callable[[list[dict[str, Any]]], bool]:
    def holds(found: list[dict[str, Any]]) -> bool:
        return any(
            each["type"] == "edited_both" and each.get("state", "open") == state for each in found
        )

    return holds


async def until_rules(site: RoadSite, wanted: list[tuple[str, str]]) -> None:
    """Ask until the site resolves so: a write is compiled a moment after its answer."""
    while [
        (each["rule"], each["action"]) for each in (await site.api.resolve())["rules"]
    ] != wanted:
        pass


async def parted(
    fsm: FSM, site: RoadSite, *, theirs: dict[str, Any], mine: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Let both sides change p, the FSM while the site is cut off; return the conflict."""
    await fsm.admin().put("securitypolicies", "p", policy(rule("a"), rule("b")))
    await site.heard(fsm)
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})
    site.wire.cut()
    await site.until(lambda found: not found["upstream"]["connected"])
    await override(site, mine or local(rule("a", "deny"), rule("b")))
    await fsm.admin().put("securitypolicies", "p", theirs)
    site.wire.mend()
    await site.heard(fsm)
    found = await conflicts(site, of("open"))
    return next(each for each in found if each["type"] == "edited_both")


async def test_edits_that_do_not_overlap_run_merged_until_somebody_decides(
    fsm: FSM, site: RoadSite
) -> None:
    theirs = policy(rule("a"), rule("b", "deny"), rule("block", "deny"))
    found = await parted(fsm, site, theirs=theirs)
    assert found["urgency"] == "deferrable"
    assert found["facts"]["runs"] == "merge"
    assert found["facts"]["localFields"] == ["rules[a].action"]
    assert found["facts"]["globalFields"] == ["rules[b].action", "rules[block]"]
    assert "fields" not in found
    assert [each["name"] for each in found["proposals"]] == [
        *("acceptGlobal", "keepLocal", "merge", "askFederation"),
    ]
    merged = [("a", "deny"), ("b", "deny"), ("block", "deny")]
    await until_rules(site, merged)

    decided = await settle(site, found["name"], "merge")
    assert decided["state"] == "resolved"
    assert decided["decision"]["by"] == "user:admin"
    await until_rules(site, merged)
    exception = spec_of(await site.api.get("Override", "line-7"))
    assert [each["name"] for each in exception["spec"]["rules"]] == ["a", "b", "block"]
    await fsm.admin().put("networks", "later", {})
    await site.heard(fsm)
    assert of("resolved")(await conflicts(site, lambda _: True))
    (record,) = [each async for each in site.api.audit(text="conflict.decide")]
    assert record.reason == "seen"
    with pytest.raises(HanseError) as refused:
        await settle(site, found["name"], "merge")
    assert refused.value.code == "conflict_resolved"


async def test_what_is_decided_is_what_was_looked_at_and_a_call_that_comes_twice_counts_once(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=policy(rule("a"), rule("b", "deny")))
    name = found["name"]
    seen = (await site.api.get("Conflict", name)).revision
    later = SystemClock().now() + timedelta(days=1)
    put_off = await site.api.defer_conflict(name, until=later, reason="asleep", if_match=seen)
    for settle_it in (
        site.api.decide_conflict(name, "keepLocal", reason="seen", if_match=seen),
        site.api.defer_conflict(name, until=later, reason="asleep", if_match=seen),
    ):
        with pytest.raises(HanseError) as refused:
            await settle_it
        assert refused.value.code == "revision_conflict"

    async def decide(proposal: str) -> Mapping[str, Any]:
        answer = await site.api._connection.call(
            "POST",
            f"/api/v1/conflicts/{name}/decision",
            body={"proposal": proposal, "reason": "seen"},
            headers={"If-Match": f'"{put_off.revision}"'},
            request_id="once",
        )
        return dict(answer.json())

    first = await decide("keepLocal")
    assert await decide("keepLocal") == first
    assert len([each async for each in site.api.audit(text="conflict.decide")]) == 1
    # That it is settled says more than that it was seen otherwise.
    with pytest.raises(HanseError) as refused:
        await decide("acceptGlobal")
    assert refused.value.code == "conflict_resolved"


async def test_regression_a_deferral_that_is_sent_again_counts_once(
    fsm: FSM, site: RoadSite
) -> None:
    """It was taken, its answer was lost, and the next try said `revision_conflict`."""
    found = await parted(fsm, site, theirs=policy(rule("a"), rule("b", "deny")))
    seen = (await site.api.get("Conflict", found["name"])).revision
    until = (site.clock.now() + timedelta(days=1)).isoformat()

    async def defer(until: str) -> Mapping[str, Any]:
        answer = await site.api._connection.call(
            "POST",
            f"/api/v1/conflicts/{found['name']}/deferral",
            body={"until": until, "reason": "asleep"},
            headers={"If-Match": f'"{seen}"'},
            request_id="once",
        )
        return dict(answer.json())

    first = await defer(until)
    assert await defer(until) == first
    assert len([each async for each in site.api.audit(text="conflict.defer")]) == 1
    with pytest.raises(HanseError) as refused:
        await defer((site.clock.now() + timedelta(days=2)).isoformat())
    assert refused.value.code == "revision_conflict"


async def test_where_the_edits_overlap_the_site_s_counts_until_it_accepts_the_federation_s(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=policy(rule("a", "reject"), rule("b")))
    assert found["urgency"] == "immediate"
    assert found["fields"] == ["rules[a].action"]
    await until_rules(site, [("a", "deny"), ("b", "allow")])
    with pytest.raises(HanseError) as refused:
        await settle(site, found["name"], "merge")
    assert refused.value.code == "proposal_not_offered"

    offered = {each["name"]: each for each in await impact(site, found["name"])}
    # Upstream and the site deny alike, but for the answer: nothing of the site's is left.
    assert "nothing of the site's own change" in offered.pop("narrow")["notOffered"]
    impacts = {name: each["impact"] for name, each in offered.items()}
    # Denied and rejected alike: b is not reached, since a names the same packets.
    assert not impacts["acceptGlobal"]["changes"]
    assert not impacts["keepLocal"]["changes"]
    await settle(site, found["name"], "acceptGlobal")
    await until_rules(site, [("a", "reject"), ("b", "allow")])
    with pytest.raises(HanseError) as refused:
        await site.api.get("Override", "line-7")
    assert refused.value.code == "not_found"


async def test_the_impact_that_is_announced_is_what_a_decision_does(
    fsm: FSM, site: RoadSite
) -> None:
    await site.put("Workload", "w1", {"addresses": ["10.0.0.5"]})
    found = await parted(fsm, site, theirs=policy(rule("a", log=True), rule("b")))
    impacts = {each["name"]: each["impact"] for each in await impact(site, found["name"])}
    accepted = impacts["acceptGlobal"]
    assert accepted["newlyDenied"]["packets"] == "0"
    assert (accepted["networks"], accepted["workloads"]) == (["A"], ["w1"])
    flow = dict(accepted["newlyAllowed"]["example"])
    assert (await site.api.trace(flow))["outcome"] == "deny"
    (box,) = accepted["newlyAllowed"]["boxes"]
    assert (box["from"], box["to"], box["protocol"]) == ("0.0.0.0/0", "10.0.0.0/24", "any")
    await settle(site, found["name"], "acceptGlobal")
    while (await site.api.trace(flow))["outcome"] != "allow":
        pass  # a write is compiled a moment after its answer


async def impact(site: RoadSite, name: str) -> list[Mapping[str, Any]]:
    return [*await site.api.impact_of_conflict(name)]


async def test_an_exception_that_is_kept_is_based_on_what_is_inherited_now(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=policy(rule("a", "reject"), rule("b")))
    until = site.clock.now() + timedelta(days=1)
    await settle(site, found["name"], "keepLocal", expires_at=until)
    await until_rules(site, [("a", "deny"), ("b", "allow")])
    kept = spec_of(await site.api.get("Override", "line-7"))
    assert kept["expiresAt"]
    assert kept["basedOn"]["spec"]["rules"][0]["action"] == "reject"
    # The same disagreement comes back with the federation's next edit only.
    await fsm.admin().put("networks", "later", {})
    await site.heard(fsm)
    assert of("resolved")(await conflicts(site, lambda _: True))
    await fsm.admin().put("securitypolicies", "p", policy(rule("a"), rule("b", "deny")))
    again = await conflicts(site, of("open"))
    assert "decision" not in again[0]


async def test_a_merge_that_says_what_the_exception_says_already_ends_the_conflict_too(
    fsm: FSM, site: RoadSite
) -> None:
    """Regression: written again unchanged, the exception kept its old base, and parted anew."""
    mine = local(rule("a", "deny"), rule("b", "deny"))
    found = await parted(fsm, site, theirs=policy(rule("a", "deny"), rule("b")), mine=mine)
    await settle(site, found["name"], "merge")
    kept = spec_of(await site.api.get("Override", "line-7"))
    assert kept["basedOn"]["spec"]["rules"][0]["action"] == "deny"
    await fsm.admin().put("networks", "later", {})
    await site.heard(fsm)
    assert of("resolved")(await conflicts(site, lambda _: True))


async def test_a_conflict_that_is_gone_closes_itself_and_says_why(fsm: FSM, site: RoadSite) -> None:
    found = await parted(fsm, site, theirs=policy(rule("a", "reject"), rule("b")))
    await site.api.delete("Override", "line-7")
    gone = await conflicts(site, of("resolved"))
    closed = next(each for each in gone if each["name"] == found["name"])
    assert "is gone" in closed["closed"]["why"]
    assert "decision" not in closed


async def test_a_conflict_that_is_put_off_is_open_again_in_time_or_when_it_says_something_else(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=policy(rule("a", "reject"), rule("b")))
    until = site.clock.now() + timedelta(days=1)
    deferred = await site.api.defer_conflict(found["name"], until=until, reason="tomorrow")
    assert spec_of(deferred)["state"] == "deferred"
    await fsm.admin().put("securitypolicies", "p", policy(rule("a", "pass"), rule("b")))
    await conflicts(site, of("open"))
    with pytest.raises(HanseError) as refused:
        await site.api.defer_conflict(found["name"], until=site.clock.now(), reason="too late")
    assert refused.value.code == "invalid_value"


async def test_a_decision_on_what_has_changed_meanwhile_is_refused(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=policy(rule("a", "reject"), rule("b")))
    await override(site, local(rule("a", "pass"), rule("b", "deny")))
    with pytest.raises(HanseError) as refused:
        await settle(site, found["name"], "keepLocal")
    # Looked at in time, it is outdated; soon it has closed itself, for the base is new.
    assert refused.value.code in ("conflict_outdated", "conflict_resolved")
    kept = spec_of(await site.api.get("Override", "line-7"))
    assert kept["spec"]["rules"][0]["action"] == "pass"
