"""A site that is cut off, planned or not, says since when, on which revision, and what changed."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dsn.status import status_of
from shared.errors import Conflict, Invalid
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import HurriedClock, RoadSite, declare, joined

BLOCK = {"rules": [{"name": "r", "from": "any", "to": "any", "action": "deny"}]}


@pytest.fixture
async def hurried(stopped: FSM) -> AsyncIterator[FSM]:
    """A running FSM whose bookmarks come every half second."""
    stopped.clock = HurriedClock()
    async with stopped.serving():
        await declare(stopped.admin())
        yield stopped


@pytest.fixture
async def quick(hurried: FSM, tmp_path: Path) -> AsyncIterator[RoadSite]:
    """The SDSP of sfo, not running yet, with a clock that tests may advance."""
    async with joined(tmp_path, hurried, clock=HurriedClock()) as found:
        yield found


async def confirmed(site: RoadSite, fsm: FSM) -> dict[str, Any]:
    """Wait until the FSM has said, signed, that the site has its latest."""
    revision = (await fsm.running.store.position()).revision

    def holds(status: dict[str, Any]) -> bool:
        said = status["upstream"]["confirmed"]
        return said is not None and said["revision"] >= revision

    return await site.until(holds)


def pass_time(site: RoadSite, **span: float) -> None:
    """Let time pass for a site, by both of its clocks."""
    clock = site.clock
    assert isinstance(clock, HurriedClock)
    clock.ahead += timedelta(**span)
    clock.monotonic_ahead += timedelta(**span).total_seconds()


async def test_status_says_since_when_a_site_is_cut_off_and_what_was_changed_since(
    hurried: FSM, quick: RoadSite, tmp_path: Path
) -> None:
    async with quick.serving():
        await quick.populate()
        await quick.put("Network", "old", {"subnets": ["10.9.0.0/24"]})
        await quick.join_node("node-1", tmp_path / "n1")
        async with quick.agent(tmp_path / "n1"):
            await quick.until_node("node-1", state="realised", connected=True)
            status = await confirmed(quick, hurried)
            assert "changedSince" not in status["upstream"]
            assert 0 <= status["upstream"]["confirmed"]["age"] < 60

            quick.wire.cut()
            await quick.until(lambda found: not found["upstream"]["connected"])
            pass_time(quick, hours=2)
            await quick.put("SecurityPolicy", "ours", BLOCK)
            await quick.put("Network", "A", {"subnets": ["10.0.0.0/25"]})
            await quick.api.delete("Network", "old")
            upstream = (await quick.api.status())["upstream"]
            told = [(each["kind"], each["name"], each["what"]) for each in upstream["changedSince"]]
            assert told == [
                ("SecurityPolicy", "ours", "created"),
                ("Network", "A", "changed"),
                ("Network", "old", "deleted"),
            ]
            assert upstream["changes"] == 3
            assert upstream["cutOffSince"] == upstream["confirmed"]["heardAt"]
            assert upstream["confirmed"]["age"] >= 7200
            assert (await quick.until_node("node-1", state="realised"))["policyAge"] >= 7200
        assert (await quick.api.status())["upstream"]["changes"] == 3
    # Whoever starts it anew while it is cut off learns the same.
    async with quick.serving():
        upstream = (await quick.api.status())["upstream"]
        assert [each["name"] for each in upstream["changedSince"]] == ["ours", "A", "old"]
        quick.wire.mend()
        await quick.heard(hurried)
        status = await confirmed(quick, hurried)
        await quick.until(lambda found: found["upstream"]["confirmed"]["age"] < 60)


async def test_a_node_knows_how_old_its_policy_is(
    hurried: FSM, quick: RoadSite, tmp_path: Path
) -> None:
    node = tmp_path / "n1"
    async with quick.serving():
        await quick.populate()
        await quick.join_node("node-1", node)
        await confirmed(quick, hurried)
        async with quick.agent(node):
            await quick.until_node("node-1", state="realised", connected=True)
            while (found := status_of(node, clock=quick.clock))["policyAge"] is None:
                # Each change of its configuration is followed by a bookmark.
                await quick.api.status()
            assert found["running"]
            assert (
                found["revision"] == (await quick.api.status())["upstream"]["confirmed"]["revision"]
            )
            assert 0 <= found["policyAge"] < 60
    pass_time(quick, hours=3)
    found = status_of(node, clock=quick.clock)
    assert not found["running"]
    assert found["policyAge"] >= 3 * 3600
    assert found["generation"] is not None


async def test_a_site_is_detached_for_a_planned_time(hurried: FSM, quick: RoadSite) -> None:
    admin = hurried.admin()
    async with quick.serving():
        await confirmed(quick, hurried)
        until = quick.clock.now() + timedelta(hours=1)
        await quick.api.detach(until=until, reason="the line is moved")
        status = await quick.until(lambda found: not found["upstream"]["connected"])
        assert status["upstream"]["error"] == "detached"
        assert status["upstream"]["detached"]["reason"] == "the line is moved"
        (known,) = (await admin.status())["sites"]
        while not (known["detached"] and known["detached"]["reason"] == "the line is moved"):
            (known,) = (await admin.status())["sites"]
        await quick.put("SecurityPolicy", "ours", BLOCK)
    async with quick.serving():
        status = await quick.api.status()
        assert status["upstream"]["detached"]["until"] == until.isoformat()
        assert [each["name"] for each in status["upstream"]["changedSince"]] == ["ours"]
        await admin.put("networks", "B", {})
        # When the time is over it connects by itself, and takes what came meanwhile.
        pass_time(quick, hours=2)
        status = await quick.heard(hurried)
        assert status["upstream"]["detached"] is None
        (known,) = (await admin.status())["sites"]
        while known["detached"] is not None:
            (known,) = (await admin.status())["sites"]
        records = [each async for each in quick.api.audit()]
        actions = [(each.action, each.identity) for each in records]
        assert "upstream.detach" in {action for action, _ in actions}
        assert ("upstream.attach", "system") in actions


async def test_a_detached_site_is_let_back_before_the_time(hurried: FSM, quick: RoadSite) -> None:
    async with quick.serving():
        await confirmed(quick, hurried)
        with pytest.raises(Conflict) as refused:
            await quick.api.attach(reason="too early")
        assert refused.value.code == "not_detached"
        with pytest.raises(Invalid):
            await quick.api.detach(until=quick.clock.now(), reason="over before it began")
        until = quick.clock.now() + timedelta(days=1)
        await quick.api.detach(until=until, reason="maintenance")
        await quick.until(lambda found: not found["upstream"]["connected"])
        await quick.api.attach(reason="it went quickly")
        status = await quick.until(lambda found: found["upstream"]["connected"])
        assert status["upstream"]["detached"] is None
