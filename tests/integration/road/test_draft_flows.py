"""What a draft would do to the flows that a site has seen: told to who may know of them."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sdsp.settings import FlowSettings
from tests.fakes.tokens import token_for
from tests.integration.fsm.harness import FSM
from tests.integration.road.asking import asked, fsm, give, put, reachable, site_of
from tests.integration.road.world import RoadSite, joined

__all__ = ["fsm"]

CLOSED: dict[str, Any] = {
    "enforcement": "mandatory",
    "priority": 100,
    "rules": [{"name": "closed", "from": "any", "to": "any", "action": "deny"}],
}
"""Denies what the policy p and those of tenants allow."""


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return tmp_path / "flows.jsonl"


@pytest.fixture
async def site(fsm: FSM, recorded: Path, tmp_path: Path) -> AsyncIterator[RoadSite]:
    """The running SDSP of sfo, where flows are recorded."""
    async with joined(tmp_path, fsm) as found:
        flows = FlowSettings(recorded=recorded)
        found.settings = found.settings.model_copy(update={"flows": flows})
        async with found.serving():
            await found.until(lambda status: bool(status["policies"]))
            await reachable(fsm, found)
            yield found


def write(recorded: Path, site: RoadSite, *pairs: tuple[str, str]) -> None:
    seen = (site.clock.now() - timedelta(hours=1)).isoformat()
    flows = [
        {"from": source, "to": to, "protocol": "tcp", "port": 443, "bytes": 9, "lastSeen": seen}
        for source, to in pairs
    ]
    recorded.write_text("".join(json.dumps(each) + "\n" for each in flows))


async def test_a_draft_is_told_with_the_flows_that_it_would_turn_and_who_depends_on_it(
    fsm: FSM, site: RoadSite, recorded: Path
) -> None:
    await site.populate()
    write(recorded, site, ("192.0.2.1", "10.0.0.5"), ("192.0.2.1", "10.9.9.9"))
    draft = [
        put("SecurityPolicy", "closed", CLOSED),
        put("Network", "A", {"subnets": ["10.8.0.0/24"]}),
    ]
    said = site_of(await asked(fsm.admin().client, draft), "sfo")["impact"]
    flows = said["flows"]
    assert (flows["judged"], flows["newlyAllowed"]["flows"]) == (2, 0)
    assert (flows["newlyDenied"]["flows"], flows["newlyDenied"]["bytes"]) == (1, 9)
    (example,) = flows["newlyDenied"]["examples"]
    assert (example["to"], example["toWorkload"], example["port"]) == ("10.0.0.5", "w1", 443)
    assert "fromWorkload" not in example
    assert example["before"]["policy"] == "p"
    assert example["after"] == {
        "verdict": "deny",
        "tier": "mandatory",
        "policy": "closed",
        "tenant": "common",
        "rule": "closed",
    }
    assert [(each["kind"], each["name"], each["chain"]) for each in said["dependents"]] == [
        (
            "SecurityPolicy",
            "p",
            ["Network A (federation)", "SecurityPolicy p (federation)"],
        )
    ]


async def test_why_flows_cannot_be_read_stays_at_the_site(
    fsm: FSM, site: RoadSite, recorded: Path
) -> None:
    draft = [put("SecurityPolicy", "closed", CLOSED)]
    said = site_of(await asked(fsm.admin().client, draft), "sfo")["impact"]
    assert set(said["flows"]) == {"unreadable"}
    assert str(recorded) not in json.dumps(said)


async def test_who_asks_for_a_tenant_is_told_of_no_other_s_flows(
    fsm: FSM, site: RoadSite, recorded: Path
) -> None:
    admin = fsm.admin()
    opened = {
        "rules": [{"name": "in", "from": "any", "to": [{"network": "own"}], "action": "allow"}]
    }
    for tenant, subnet in (("acme", "10.1.0.0/24"), ("rival", "10.2.0.0/24")):
        await admin.put("tenants", tenant, {})
        await admin.put("networks", "own", {}, tenant=tenant)
        await admin.put("securitypolicies", "open", opened, tenant=tenant)
        await site.heard(fsm)
        await site.put("Network", "own", {"subnets": [subnet]}, tenant=tenant)
    token = token_for(fsm.running.logins, fsm.clock, "admin", subject="user:kim")
    kim = fsm.visitor(lambda: token)
    await give(fsm, "viewer", "kim", tenants=["acme"])
    await site.heard(fsm)
    write(
        recorded,
        site,
        ("192.0.2.1", "10.1.0.5"),
        ("192.0.2.1", "10.2.0.5"),
        ("10.2.0.9", "10.1.0.5"),
        ("10.1.0.9", "10.1.0.5"),
        ("192.0.2.1", "192.0.2.2"),
    )
    draft = [put("SecurityPolicy", "open", CLOSED | {"priority": 200}, tenant="acme")]
    told = site_of(await asked(kim, draft), "sfo")["impact"]
    assert told["tenants"] == ["acme"]
    ends = {(each["from"], each["to"]) for each in told["flows"]["newlyDenied"]["examples"]}
    assert ends == {("192.0.2.1", "10.1.0.5"), ("10.1.0.9", "10.1.0.5")}
    assert told["flows"]["judged"] == 2
    assert "10.2.0." not in json.dumps(told)
    whole = site_of(await asked(fsm.admin().client, draft), "sfo")["impact"]
    assert (whole["flows"]["judged"], whole["flows"]["newlyDenied"]["flows"]) == (5, 3)
