"""The FSM is told of a site's conflicts, of nothing before it was judged, and how they ended."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from shared.clock import SystemClock
from shared.failpoints import armed
from tests.integration.fsm.harness import FSM, Person
from tests.integration.road.test_conflicts import local, override, parted, policy, rule, settle
from tests.integration.road.world import RoadSite


async def told(
    fsm: FSM, holds: Callable[[list[dict[str, Any]]], bool], *, settled: bool = False
) -> list[dict[str, Any]]:
    """Ask the FSM until it is so; pytest-timeout ends a wait for ever."""
    params = {"all": "true"} if settled else None
    admin = fsm.admin()
    while True:
        answer = (await admin.client.get("/api/v1/conflicts", params=params)).json()
        if holds(answer["items"]):
            return list(answer["items"])


async def test_the_fsm_sees_a_conflict_how_it_is_put_off_and_how_it_is_settled(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=policy(rule("a", "reject"), rule("b")))
    name = found["name"]

    def mine(items: list[dict[str, Any]]) -> dict[str, Any]:
        return next((each for each in items if each["name"] == name), {})

    items = await told(fsm, lambda items: bool(mine(items)))
    assert (mine(items)["site"], mine(items)["urgency"], mine(items)["state"]) == (
        "sfo",
        "immediate",
        "open",
    )
    until = SystemClock().now() + timedelta(days=1)
    await site.api.defer_conflict(name, until=until, reason="asleep")
    items = await told(fsm, lambda items: mine(items).get("state") == "deferred")
    assert mine(items)["until"] == until.isoformat().replace("+00:00", "Z")
    await settle(site, name, "acceptGlobal")
    items = await told(fsm, lambda items: mine(items).get("state") == "resolved", settled=True)
    assert mine(items)["how"] == "acceptGlobal"


async def test_after_a_rejoin_nothing_is_said_of_conflicts_before_they_are_found(
    fsm: FSM, site: RoadSite
) -> None:
    """The site has pulled, and finding takes its time: the FSM keeps what it knew, as of then."""
    await fsm.admin().put("securitypolicies", "p", policy(rule("a"), rule("b")))
    await site.heard(fsm)
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})
    revision = (await fsm.running.store.position()).revision
    admin = fsm.admin()
    while (known := await summary(admin)) is None or (known["asOf"] or 0) < revision:
        pass
    site.wire.cut()
    await site.until(lambda found: not found["upstream"]["connected"])
    await override(site, local(rule("a", "deny"), rule("b")))
    theirs = policy(rule("a", "reject"), rule("b"))
    put = await admin.put("securitypolicies", "p", theirs)
    parted_at = int(put["metadata"]["revision"])
    with armed("sdsp.judge.before=raise"):
        site.wire.mend()
        await site.heard(fsm)
        seen = [await summary(admin)]
        while not seen[-1]["pending"]:
            seen.append(await summary(admin))
    # What is known of before may be said, and as of when; of what has come, nothing.
    assert all(each["asOf"] < parted_at for each in seen)
    assert {each["immediate"] for each in seen} == {0}
    while (found := await summary(admin))["pending"]:
        pass
    assert found["asOf"] >= parted_at
    assert found["immediate"] == 1, "said at once with what was found"


async def summary(admin: Person) -> Any:
    [found] = (await admin.status(site="sfo"))["sites"]
    return found["conflicts"]
