"""What a site tells beforehand of a decision: its own traffic that it would turn, too."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sdsp.settings import FlowSettings
from tests.integration.fsm.harness import FSM
from tests.integration.road.test_conflicts import impact, parted, policy, rule, settle
from tests.integration.road.world import RoadSite, joined


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return tmp_path / "flows.jsonl"


@pytest.fixture
async def watched(fsm: FSM, recorded: Path, tmp_path: Path) -> AsyncIterator[RoadSite]:
    """A running site where flows are recorded."""
    async with joined(tmp_path, fsm) as found:
        flows = FlowSettings(recorded=recorded, window="2d")
        found.settings = found.settings.model_copy(update={"flows": flows})
        async with found.serving():
            await found.until(lambda status: bool(status["policies"]))
            yield found


async def test_a_site_tells_which_of_its_own_flows_a_proposal_would_turn(
    fsm: FSM, watched: RoadSite, recorded: Path
) -> None:
    now = watched.clock.now()
    recorded.write_text(
        line(to="10.0.0.5", bytes=300, lastSeen=(now - timedelta(hours=1)).isoformat())
        + line(to="10.0.0.5", bytes=40, lastSeen=(now - timedelta(days=3)).isoformat())
        + line(to="10.9.9.9", bytes=5, lastSeen=(now - timedelta(hours=1)).isoformat())
    )
    await watched.put("Node", "node-1", {})
    await watched.put("Workload", "w1", {"addresses": ["10.0.0.5"], "node": "node-1"})
    found = await parted(fsm, watched, theirs=policy(rule("a", log=True), rule("b")))
    told = await flows_of(watched, found["name"])
    assert (told["keepLocal"]["judged"], told["keepLocal"]["newlyAllowed"]["flows"]) == (2, 0)
    accepted = told["acceptGlobal"]["newlyAllowed"]
    assert (accepted["flows"], accepted["bytes"]) == (1, 300)
    (example,) = accepted["examples"]
    assert (example["to"], example["toWorkload"]) == ("10.0.0.5", "w1")
    assert (example["before"]["verdict"], example["after"]["verdict"]) == ("deny", "allow")
    assert (example["after"]["policy"], example["after"]["rule"]) == ("p", "a")

    flow = {"from": "192.0.2.1", "to": "10.0.0.5", "protocol": "tcp", "port": 443}
    assert (await watched.api.trace(flow))["outcome"] == "deny"
    await settle(watched, found["name"], "acceptGlobal")
    assert (await watched.api.trace(flow))["outcome"] == "allow"


async def test_flows_that_cannot_be_read_keep_nobody_from_an_impact(
    fsm: FSM, watched: RoadSite, recorded: Path
) -> None:
    found = await parted(fsm, watched, theirs=policy(rule("a", log=True), rule("b")))
    told = await flows_of(watched, found["name"])
    assert "there is no file" in told["acceptGlobal"]["unreadable"]
    recorded.write_text("nonsense\n")
    told = await flows_of(watched, found["name"])
    assert f"{recorded}:1" in told["acceptGlobal"]["unreadable"]


async def test_where_no_flows_are_recorded_none_are_told_not_zero(fsm: FSM, site: RoadSite) -> None:
    found = await parted(fsm, site, theirs=policy(rule("a", log=True), rule("b")))
    assert set((await flows_of(site, found["name"])).values()) == {None}


async def flows_of(site: RoadSite, conflict: str) -> Mapping[str, Any]:
    return {each["name"]: each["impact"]["flows"] for each in await impact(site, conflict)}


def line(**fields: Any) -> str:
    flow = {"from": "192.0.2.1", "protocol": "tcp", "port": 443, **fields}
    return json.dumps(flow) + "\n"
