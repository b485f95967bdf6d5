"""Exceptions that end soon are announced, with what their end changes, once each."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.integration.fsm.harness import FSM
from tests.integration.road.test_cut_off import hurried, quick
from tests.integration.road.world import RoadSite

__all__ = ["hurried", "quick"]

ANYBODY = {"rules": [{"name": "in", "from": "any", "to": "any", "action": "allow"}]}


async def announced(
    site: RoadSite, holds: Callable[[list[dict[str, Any]]], bool]
) -> list[dict[str, Any]]:
    """Ask until it is so; pytest-timeout ends a wait for ever."""
    while True:
        events = (await site.api.status())["events"]
        found = [each for each in events if each["type"] == "override.expiring"]
        if holds(found):
            return found


async def except_until(site: RoadSite, **ahead: float) -> None:
    target = {"kind": "SecurityPolicy", "name": "p"}
    until = (site.clock.now() + timedelta(**ahead)).isoformat()
    spec = {"target": target, "reason": "line 7", "expiresAt": until, "spec": ANYBODY}
    await site.put("Override", "line-7", spec)


async def test_the_end_of_an_exception_is_announced_with_what_it_changes(
    hurried: FSM, quick: RoadSite
) -> None:
    async with quick.serving():
        await quick.heard(hurried)
        await quick.populate()
        await except_until(quick, days=6)
        (week,) = await announced(quick, bool)
        assert week["message"].startswith("exception line-7 to SecurityPolicy p ends at ")
        # The exception lets everybody reach everything, and the policy everybody reach A.
        assert "newly denied" in week["message"]
        assert week["fields"]["newlyAllowed"] == "0"
        assert int(week["fields"]["newlyDenied"]) > 2**64
    # A restart doesn't repeat it, and another end is announced for itself.
    async with quick.serving():
        await quick.api.status()
        await except_until(quick, hours=5)
        day, earlier = await announced(quick, lambda found: len(found) >= 2)
        assert earlier == week
        assert day["fields"]["expiresAt"] != week["fields"]["expiresAt"]


async def test_of_a_tenants_exception_it_is_said_only_that_there_is_one(
    hurried: FSM, quick: RoadSite
) -> None:
    admin = hurried.admin()
    await admin.put("tenants", "acme", {})
    await admin.put("securitypolicies", "own", {"rules": ANYBODY["rules"]}, tenant="acme")
    async with quick.serving():
        await quick.heard(hurried)
        until = (quick.clock.now() + timedelta(days=3)).isoformat()
        target = {"kind": "SecurityPolicy", "name": "own", "tenant": "acme"}
        spec = {"target": target, "reason": "secret", "expiresAt": until, "spec": ANYBODY}
        await quick.put("Override", "hidden", spec, tenant="acme")
        (found,) = await announced(quick, bool)
        assert found["message"].startswith("a tenant's exception ends at ")
        assert "own" not in str(found)
        assert "newlyDenied" not in found["fields"]
