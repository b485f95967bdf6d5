"""Before the fact: the FSM asks its sites what a draft would do there, and they say it exactly."""

import json
from pathlib import Path
from typing import Any

import pytest

from sdsp.compile.model import PLANNED
from shared.cli.answers import Put
from shared.errors import Conflict
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.detect import find_conflicts
from shared.policy.impact.site import site_impact
from tests.fakes.tokens import token_for
from tests.integration.fsm.harness import FSM
from tests.integration.road.asking import (
    asked,
    delete,
    fsm,
    give,
    put,
    reachable,
    refused,
    second_site,
    site,
    site_of,
)
from tests.integration.road.world import MANDATORY, RoadSite, Wire, document

__all__ = ["fsm", "site"]

BLOCK: dict[str, Any] = {
    "enforcement": "mandatory",
    "priority": 100,
    "rules": [
        {
            "name": "block-ftp",
            "from": "any",
            "to": [{"network": "A"}],
            "services": [{"protocol": "tcp", "ports": ["21"]}],
            "action": "deny",
        }
    ],
}


async def test_each_concerned_site_says_what_a_draft_would_do_there(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})
    await site.put("Workload", "w1", {"addresses": ["10.0.0.5"]})
    async with second_site(fsm, tmp_path) as fra:
        await fra.put("Network", "A", {"subnets": ["10.9.0.0/30"]})
        lines = await asked(fsm.admin().client, [put("SecurityPolicy", "block", BLOCK)])
        assert [each["type"] for each in (lines[0], lines[-1])] == ["begun", "end"]
        assert lines[0]["sites"] == ["fra", "sfo"]
        said = site_of(lines, "sfo")
        assert (said["outcome"], said["current"], said["code"]) == ("ok", True, None), said
        impact = said["impact"]
        assert impact["newlyAllowed"]["packets"] == "0"
        assert impact["newlyDenied"]["packets"] == str(2**32 * 256 * 65536)
        assert impact["newlyDenied"]["example"]["port"] == 21
        assert impact["networks"] == ["A"]
        assert impact["workloads"] == ["w1"]
        assert site_of(lines, "fra")["impact"]["newlyDenied"]["packets"] == str(2**32 * 4 * 65536)
        assert lines[-1]["answered"] == 2
        assert not lines[-1]["partial"]
        assert lines[-1]["newlyDenied"] == str(2**32 * 260 * 65536)
    # Nothing was written anywhere.
    assert "block" not in [each["policy"] for each in (await site.api.resolve())["rules"]]


FTP_TO_B: dict[str, Any] = {
    "rules": [{"name": "in", "from": "any", "to": [{"network": "B"}], "action": "allow"}]
}
DRAFTS: dict[str, list[dict[str, Any]]] = {
    "a new policy": [put("SecurityPolicy", "block", BLOCK)],
    "a policy changed": [
        put("SecurityPolicy", "p", {**BLOCK, "rules": [{**BLOCK["rules"][0], "action": "allow"}]})
    ],
    "a policy deleted": [delete("SecurityPolicy", "p")],
    "a network redefined, and a policy that uses it": [
        put("Network", "B", {"subnets": ["10.2.0.0/28", "2001:db8::/64"]}),
        put("SecurityPolicy", "q", FTP_TO_B),
    ],
    "a name that means nothing here": [
        put("Network", "Nowhere", {}),
        put(
            "SecurityPolicy",
            "n",
            {
                "rules": [
                    {"name": "r", "from": "any", "to": [{"network": "Nowhere"}], "action": "deny"}
                ]
            },
        ),
    ],
    "several at once, with a deletion": [
        delete("SecurityPolicy", "p"),
        put("SecurityPolicy", "block", BLOCK),
        put("Network", "B", {"subnets": ["10.2.0.0/24"]}),
    ],
    "rules that never take effect": [
        put(
            "SecurityPolicy",
            "p2",
            {"rules": [{"name": "in", "from": "any", "to": [{"network": "A"}], "action": "deny"}]},
        )
    ],
}


@pytest.mark.parametrize("draft", DRAFTS.values(), ids=DRAFTS)
async def test_the_announced_impact_is_what_is_found_after_the_apply(
    fsm: FSM, site: RoadSite, draft: list[dict[str, Any]]
) -> None:
    await fsm.admin().put("networks", "B", {"subnets": ["10.2.0.0/30"]})
    await site.heard(fsm)
    await site.populate()
    await settled(site)
    (said,) = [each for each in await asked(fsm.admin().client, draft) if each["type"] == "site"]
    assert (said["outcome"], said["current"]) == ("ok", True), (said["code"], said["message"])
    before, open_before = await standing(site)
    verdicts = await verdicts_of(site, said["impact"])

    await fsm.admin().client.post("/api/v1/transactions", {"operations": draft})
    await site.heard(fsm)
    await settled(site)
    after, open_after = await standing(site)

    announced = said["impact"]
    found = site_impact(before, after)
    wanted = found.to_json(max_boxes=1000)
    assert {name: announced[name] for name in wanted if name in announced} == {
        name: each for name, each in wanted.items() if name in announced
    }
    assert announced["changes"] == found.changes
    assert {each["name"] for each in announced["conflicts"]["new"]} == open_after - open_before
    assert {each["name"] for each in announced["conflicts"]["gone"]} == open_before - open_after
    # The site's own words for packets that were named: the verdicts turn as was said.
    now = await verdicts_of(site, announced)
    assert all(was != then for was, then in zip(verdicts, now, strict=True))
    old, new = (
        {tuple(each.to_json().values()) for each in p.plan().unresolved} for p in (before, after)
    )
    said_new = {tuple(each.values()) for each in announced["unresolved"]["new"]}
    assert {each[:5] for each in new - old} == said_new


async def settled(site: RoadSite) -> None:
    """Wait until the site has found the conflicts of all that it has."""
    assert site.running is not None
    while True:
        newest = await site.running.compiler.up_to_date()
        assert newest is not None
        async with site.running.store.snapshot() as snapshot:
            stored = {each.key: each.revision for each in await snapshot.list(PLANNED)}
        if stored != {each.key: each.revision for each in newest.planner.inputs}:
            continue
        wanted = {each.name for each in find_conflicts(newest.planner)}
        if wanted == await open_conflicts(site):
            return


async def open_conflicts(site: RoadSite) -> set[str]:
    return {
        each.name
        async for each in site.api.list("Conflict")
        if each.spec.get("state", "open") != "resolved"
    }


async def standing(site: RoadSite) -> tuple[SitePlanner, set[str]]:
    assert site.running is not None
    newest = await site.running.compiler.up_to_date()
    assert newest is not None
    return newest.planner, await open_conflicts(site)


async def verdicts_of(site: RoadSite, impact: dict[str, Any]) -> list[str]:
    """Return what the site says of the packets that an impact names."""
    packets = [impact[side]["example"] for side in ("newlyAllowed", "newlyDenied")]
    found = [(await site.api.trace(each))["view"]["verdict"] for each in packets if each]
    return [("allow" if each == "allow" else "deny") for each in found]


async def test_a_site_that_is_down_one_that_is_slow_and_one_that_nobody_can_find_are_missing(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    admin = fsm.admin()
    await admin.put("sites", "lost", {}, labels={"env": "prod"})
    async with second_site(fsm, tmp_path) as fra:
        slow = Wire(fra.settings.listen.port)
        await slow.start()
        try:
            await reachable(fsm, fra, port=slow.port)
            draft = [put("SecurityPolicy", "block", BLOCK)]
            assert site_of(await asked(admin.client, draft), "fra")["outcome"] == "ok"
            slow.silence()
            lines = await asked(admin.client, draft, deadline=1.0)
            assert site_of(lines, "sfo")["outcome"] == "ok", "the others are none the worse"
            assert site_of(lines, "fra")["outcome"] == "timeout"
            assert (site_of(lines, "lost")["outcome"], site_of(lines, "lost")["code"]) == (
                "unreachable",
                "no_endpoint",
            )
            assert lines[-1]["partial"]
            assert [each["site"] for each in lines[-1]["missing"]] == ["fra", "lost"]
            assert await refused(admin.client, draft, deadline=1.0, requireAllSites=True) == (
                "sites_missing"
            )
            assert await asked(admin.client, draft, sites="at=sfo", requireAllSites=True)
        finally:
            await slow.close()
    lines = await asked(admin.client, [put("SecurityPolicy", "block", BLOCK)])
    assert site_of(lines, "fra")["outcome"] == "unreachable", "its SDSP is stopped by now"


async def test_only_what_concerns_a_site_reaches_it_and_sites_that_it_does_not_concern_are_not_asked(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    async with second_site(fsm, tmp_path) as fra:
        del fra
        only = {**BLOCK, "sites": {"matchLabels": {"at": "fra"}}}
        lines = await asked(fsm.admin().client, [put("SecurityPolicy", "block", only)])
        assert lines[0]["sites"] == ["fra"]
        same = await asked(fsm.admin().client, [put("SecurityPolicy", "p", MANDATORY)])
        assert same[0]["sites"] == []
        assert same[-1]["asked"] == 0


async def test_a_site_behind_its_federation_says_so(fsm: FSM, site: RoadSite) -> None:
    site.wire.cut()
    await site.until(lambda found: not found["upstream"]["connected"])
    await fsm.admin().put("securitypolicies", "later", MANDATORY)
    lines = await asked(fsm.admin().client, [put("SecurityPolicy", "block", BLOCK)])
    said = site_of(lines, "sfo")
    assert (said["outcome"], said["current"]) == ("ok", False)
    site.wire.mend()
    await site.heard(fsm)
    lines = await asked(fsm.admin().client, [put("SecurityPolicy", "block", BLOCK)])
    assert site_of(lines, "sfo")["current"]


async def test_a_paused_site_says_that_it_judges_by_the_policy_of_earlier(
    fsm: FSM, site: RoadSite
) -> None:
    client = fsm.admin().client
    await client.post("/api/v1/sites/sfo/pause", {"reason": "incident"})
    await site.heard(fsm)
    draft = [put("SecurityPolicy", "block", BLOCK)]
    said = site_of(await asked(client, draft), "sfo")
    assert (said["outcome"], said["current"]) == ("ok", False)
    await client.post("/api/v1/sites/sfo/resume", {"reason": "over"})
    await site.heard(fsm)
    assert site_of(await asked(client, draft), "sfo")["current"]


async def test_what_a_site_would_hold_back_is_not_counted_as_gone(fsm: FSM, site: RoadSite) -> None:
    rules = [
        {
            "name": f"r{n}",
            "from": "any",
            "to": [{"network": "A"}],
            "action": "deny",
            "services": [{"protocol": "tcp", "ports": [str(n)]}],
        }
        for n in range(1, 13)
    ]
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})
    await fsm.admin().put(
        "securitypolicies", "many", {"enforcement": "mandatory", "priority": 50, "rules": rules}
    )
    await site.heard(fsm)
    lines = await asked(fsm.admin().client, [delete("SecurityPolicy", "many")])
    impact = site_of(lines, "sfo")["impact"]
    assert [each["name"] for each in impact["held"]] == ["many"]
    assert not impact["changes"]


async def test_a_draft_is_refused_as_the_apply_would_be(fsm: FSM, site: RoadSite) -> None:
    unknown = {**BLOCK, "rules": [{**BLOCK["rules"][0], "to": [{"network": "Nope"}]}]}
    client = fsm.admin().client
    assert await refused(client, [put("SecurityPolicy", "x", unknown)]) == "unknown_network"
    assert await refused(client, [delete("Network", "A")]) == "in_use"
    assert await refused(client, [delete("Network", "Never")]) == "not_found"
    assert await refused(client, [put("SecurityPolicy", "x", {"rules": 1})]) == "invalid"


async def test_nobody_is_told_more_than_his_roles_at_the_site_say(fsm: FSM, site: RoadSite) -> None:
    admin = fsm.admin()
    for name in ("acme", "rival"):
        await admin.put("tenants", name, {})
    await site.heard(fsm)
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})
    for tenant, subnet in (("acme", "10.1.0.0/30"), ("rival", "10.2.0.0/30")):
        await admin.put("networks", "own", {}, tenant=tenant)
        await site.heard(fsm)
        await site.put("Network", "own", {"subnets": [subnet]}, tenant=tenant)
    open_up = {
        "enforcement": "mandatory",
        "priority": 10,
        "rules": [{"name": "in", "from": "any", "to": [{"networks": {}}], "action": "allow"}],
    }
    draft = [put("SecurityPolicy", "open", open_up)]
    logins, clock = fsm.running.logins, fsm.clock
    token = token_for(logins, clock, "admin", subject="user:kim")
    kim = fsm.visitor(lambda: token)
    said = site_of(await asked(kim, draft), "sfo")
    assert (said["outcome"], said["code"], said["impact"]) == ("denied", "forbidden", None), (
        "the FSM's own roles mean nothing at a site"
    )
    await give(fsm, "viewer", "kim", tenants=["acme"])
    await site.heard(fsm)
    said = site_of(await asked(kim, draft), "sfo")
    assert said["outcome"] == "ok", said
    assert said["impact"]["tenants"] == ["acme"]
    assert said["impact"]["networks"] == ["A", "own"]
    assert int(said["impact"]["newlyAllowed"]["packets"]) > 0
    assert "10.2.0" not in json.dumps(said), "not an address of the rival's"
    whole = site_of(await asked(admin.client, draft), "sfo")["impact"]
    assert "10.2.0.0/30" in json.dumps(whole)
    # The site's own roles give nothing more, and may take away.
    await site.put(
        "RoleBinding",
        "more",
        {"role": "global-admin", "subjects": [{"kind": "User", "name": "kim"}]},
    )
    assert site_of(await asked(kim, draft), "sfo")["impact"]["tenants"] == ["acme"]
    await site.put("User", "kim", {"disabled": True})
    assert site_of(await asked(kim, draft), "sfo")["outcome"] == "denied"
    entries = [each async for each in site.api.audit(text="user:kim")]
    assert {each.action for each in entries} == {"POST /query/v1/ask"}


async def test_at_a_site_a_base_is_moved_by_the_drafts_own_objects_alone(
    fsm: FSM, site: RoadSite
) -> None:
    del fsm
    base = await site.api.base("Network")
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})
    mine = Put(document("Workload", "w1", {"addresses": ["10.0.0.5"]}))
    await site.api.transaction([mine], base=base)
    with pytest.raises(Conflict) as caught:
        await site.api.transaction([mine], base=base)
    assert caught.value.code == "base_moved"
