"""A site asks its federation to take its side over, and somebody there answers."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import Conflict, Forbidden, HanseError, Invalid, NotFound
from shared.ids import Key
from shared.store.contract import Transaction
from tests.fakes.tokens import token_for
from tests.integration.fsm.harness import FSM, Person
from tests.integration.road.test_conflicts import (
    conflicts,
    local,
    of,
    parted,
    policy,
    rule,
    settle,
    until_rules,
)
from tests.integration.road.world import RoadSite

THEIRS = policy(rule("a"), rule("b", "reject"))
MINE = local(rule("a", "deny"), rule("b"))


async def ask(site: RoadSite, name: str) -> Any:
    return await settle(site, name, "askFederation")


async def conflict_when(
    site: RoadSite, name: str, holds: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    found = await conflicts(
        site, lambda found: any(each["name"] == name and holds(each) for each in found)
    )
    return next(each for each in found if each["name"] == name)


def asked(state: str) -> Callable[[dict[str, Any]], bool]:
    return lambda found: (found.get("asked") or {}).get("state") == state


async def requests(admin: Person) -> list[dict[str, Any]]:
    return list((await admin.client.get("/api/v1/changerequests")).json()["items"])


async def request(admin: Person, state: str = "open") -> dict[str, Any]:
    """Wait for the one request, in a state."""
    while True:
        found = await requests(admin)
        if [each["spec"].get("state", "open") for each in found] == [state]:
            return found[0]


def state_of(found: dict[str, Any]) -> str:
    return str(found["spec"].get("state", "open"))


async def rule_on(person: Person, name: str, decision: str, **more: Any) -> dict[str, Any]:
    headers = {"X-Request-Id": more.pop("request_id")} if "request_id" in more else None
    body = {"decision": decision, "reason": f"{decision}: seen", **more}
    answer = await person.client.request(
        "POST", f"/api/v1/changerequests/{name}/decision", body=body, headers=headers
    )
    return dict(answer.json())


async def test_what_the_federation_accepts_becomes_its_own_and_ends_the_conflict(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=THEIRS, mine=MINE)
    runs = [("a", "deny"), ("b", "reject")]
    await until_rules(site, runs)
    told = await ask(site, found["name"])
    assert (told["state"], told["asked"]["reason"]) == ("deferred", "seen")
    # What ran goes on.
    await until_rules(site, runs)

    admin = fsm.admin()
    came = await request(admin)
    spec = came["spec"]
    assert (spec["site"], spec["conflict"], spec["requestedBy"]) == (
        "sfo",
        found["name"],
        "user:admin",
    )
    assert spec["spec"] == found["local"]
    assert [each["action"] for each in spec["base"]["spec"]["rules"]] == ["allow", "reject"]

    done = await rule_on(admin, came["metadata"]["name"], "accept")
    assert (done["spec"]["state"], done["spec"]["decidedBy"]) == ("accepted", "user:admin")
    target = (await admin.client.get("/api/v1/securitypolicies/p")).json()
    assert target["metadata"]["revision"] == done["spec"]["revision"]
    assert target["spec"]["enforcement"] == "mandatory", "whom and how it binds stays"
    assert target["spec"]["rules"] == found["local"]["rules"]

    ended = await conflict_when(
        site,
        found["name"],
        lambda each: each.get("state") == "resolved" and asked("accepted")(each),
    )
    assert "took over" in ended["closed"]["why"]
    assert "override line-7" in ended["closed"]["why"]
    await until_rules(site, [("a", "deny"), ("b", "allow")])
    status = await site.until(lambda status: bool(status["superfluous"]))
    assert [each["name"] for each in status["superfluous"]] == ["line-7"]
    trail = (await admin.client.get("/api/v1/audit", params={"changes": "true"})).json()["items"]
    actions = {each["action"]: each for each in trail}
    assert actions["changerequest.accept"]["identity"] == "user:admin"
    assert actions["changerequest.create"]["reason"] == "seen"
    with pytest.raises(Conflict) as refused:
        await rule_on(admin, came["metadata"]["name"], "refuse")
    assert refused.value.code == "request_decided"


async def test_what_is_refused_comes_back_with_the_reason_and_opens_the_conflict_again(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=THEIRS, mine=MINE)
    await ask(site, found["name"])
    with pytest.raises(HanseError) as twice:
        await ask(site, found["name"])
    assert twice.value.code == "already_asked"
    admin = fsm.admin()
    name = (await request(admin))["metadata"]["name"]
    await rule_on(admin, name, "refuse", request_id="once")
    again = await rule_on(admin, name, "refuse", request_id="once")
    assert again["spec"]["answer"] == "refuse: seen"
    back = await conflict_when(site, found["name"], asked("refused"))
    assert back.get("state", "open") == "open"
    assert (back["asked"]["decidedBy"], back["asked"]["answer"]) == ("user:admin", "refuse: seen")
    assert not await records(site)

    # It may be asked again, and that is another request.
    await ask(site, found["name"])
    while len(found_now := await requests(admin)) < 2:
        pass
    assert {each["spec"].get("state", "open") for each in found_now} == {"refused", "open"}


async def records(site: RoadSite) -> Any:
    assert site.running is not None
    async with site.running.store.snapshot() as snapshot:
        return await snapshot.records("requests")


async def test_what_moved_meanwhile_is_overwritten_only_by_who_has_seen_it(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=THEIRS, mine=MINE)
    await ask(site, found["name"])
    admin = fsm.admin()
    name = (await request(admin))["metadata"]["name"]
    moved = await admin.put(
        "securitypolicies", "p", policy(rule("a"), rule("b"), rule("c", "deny"))
    )
    with pytest.raises(Conflict) as refused:
        await rule_on(admin, name, "accept")
    assert refused.value.code == "base_moved"
    with pytest.raises(Conflict) as stale:
        await rule_on(admin, name, "accept", targetRevision=1)
    assert stale.value.code == "revision_conflict"
    # At the site it says something else now, and is open: whoever waits knows of the new state.
    back = await conflict_when(site, found["name"], lambda each: each["global"] != found["global"])
    assert (back.get("state", "open"), back["asked"]["request"]) == ("open", name)
    seen = moved["metadata"]["revision"]
    done = await rule_on(admin, name, "accept", targetRevision=seen)
    assert done["spec"]["state"] == "accepted"
    await conflict_when(site, found["name"], lambda each: each.get("state") == "resolved")


async def test_of_what_has_moved_another_question_may_be_asked_in_place_of_the_first(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=THEIRS, mine=MINE)
    await ask(site, found["name"])
    admin = fsm.admin()
    first = (await request(admin))["metadata"]["name"]
    moved = await admin.put(
        "securitypolicies", "p", policy(rule("a"), rule("b"), rule("c", "deny"))
    )
    await conflict_when(site, found["name"], lambda each: each["global"] != found["global"])
    await ask(site, found["name"])
    states: dict[str, str] = {}
    while sorted(states) != ["open", "withdrawn"]:
        items = await requests(admin)
        states = {state_of(each): each["metadata"]["name"] for each in items}
    assert states["withdrawn"] == first
    second = states["open"]
    spec = next(each["spec"] for each in items if each["metadata"]["name"] == second)
    assert spec["base"]["revision"] == moved["metadata"]["revision"]
    assert (await rule_on(admin, second, "accept"))["spec"]["state"] == "accepted"


async def test_an_fsm_that_knows_a_request_no_longer_is_asked_again(
    fsm: FSM, site: RoadSite
) -> None:
    """As one that was restored to before it came: the site holds it until it is answered."""
    found = await parted(fsm, site, theirs=THEIRS, mine=MINE)
    await ask(site, found["name"])
    admin = fsm.admin()
    name = (await request(admin))["metadata"]["name"]
    while not [each async for each in site.api.list("ChangeRequest")]:
        pass

    async def lose(transaction: Transaction) -> None:
        await transaction.delete(Key("ChangeRequest", "common", "federation", name))

    await fsm.running.store.transact(lose)
    while not (again := await requests(admin)):
        pass
    assert again[0]["metadata"]["name"] == name
    [status] = (await admin.status(site="sfo"))["sites"]
    assert [each["name"] for each in status["changeRequests"]] == [name]
    await rule_on(admin, name, "refuse")
    await conflict_when(site, found["name"], asked("refused"))


async def test_what_is_settled_otherwise_meanwhile_is_withdrawn(fsm: FSM, site: RoadSite) -> None:
    found = await parted(fsm, site, theirs=THEIRS, mine=MINE)
    await ask(site, found["name"])
    admin = fsm.admin()
    name = (await request(admin))["metadata"]["name"]
    await settle(site, found["name"], "keepLocal")
    gone = await request(admin, "withdrawn")
    assert gone["metadata"]["name"] == name
    with pytest.raises(Conflict) as refused:
        await rule_on(admin, name, "accept")
    assert refused.value.code == "request_decided"
    while await records(site):
        pass


async def test_a_question_asked_while_cut_off_goes_up_with_the_connection(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=THEIRS, mine=MINE)
    site.wire.cut()
    await site.until(lambda status: not status["upstream"]["connected"])
    told = await ask(site, found["name"])
    assert told["state"] == "deferred"
    admin = fsm.admin()
    assert await requests(admin) == []
    site.wire.mend()
    came = await request(admin)
    await rule_on(admin, came["metadata"]["name"], "refuse")
    await conflict_when(site, found["name"], asked("refused"))


async def test_an_address_can_not_be_asked_for_and_the_conflict_says_why(
    fsm: FSM, site: RoadSite
) -> None:
    mine = local(rule("a", "deny") | {"from": [{"cidr": "192.0.2.7/32"}]}, rule("b"))
    found = await parted(fsm, site, theirs=THEIRS, mine=mine)
    told = {each["name"]: each for each in await site.api.impact_of_conflict(found["name"])}
    assert "192.0.2.7/32" in told["askFederation"]["notOffered"]
    with pytest.raises(Invalid) as refused:
        await ask(site, found["name"])
    assert refused.value.code == "proposal_not_offered"
    assert "192.0.2.7/32" in refused.value.message


async def test_a_name_of_the_site_alone_can_not_be_asked_for(fsm: FSM, site: RoadSite) -> None:
    await site.put("Network", "cellar", {"subnets": ["10.9.0.0/24"]})
    mine = local(rule("a", "deny") | {"from": [{"network": "cellar"}]}, rule("b"))
    found = await parted(fsm, site, theirs=THEIRS, mine=mine)
    with pytest.raises(Invalid) as refused:
        await ask(site, found["name"])
    assert refused.value.code == "proposal_not_offered"
    assert "cellar in the federation" in refused.value.message
    assert of("open")(await conflicts(site, lambda _: True))
    assert not await records(site)


async def test_who_may_not_write_the_target_may_not_accept_and_tenants_see_their_own(
    fsm: FSM, site: RoadSite
) -> None:
    found = await parted(fsm, site, theirs=THEIRS, mine=MINE)
    await ask(site, found["name"])
    name = (await request(fsm.admin()))["metadata"]["name"]

    def somebody(subject: str, *roles: str, tenants: tuple[str, ...] | None = None) -> Person:
        logins = fsm.running.logins
        token = token_for(logins, fsm.clock, *roles, tenants=tenants, subject=subject)
        return Person(fsm.visitor(lambda: token))

    decider = somebody("user:k")
    role = {"grants": [{"verbs": ["decide"], "kinds": ["*"]}]}
    binding = {"role": "decider", "subjects": [{"kind": "User", "name": "k"}]}
    for kind, plural, spec in (("Role", "roles", role), ("RoleBinding", "rolebindings", binding)):
        document = {
            "apiVersion": "hanse/v1",
            "kind": kind,
            "metadata": {"name": "decider"},
            "spec": spec,
        }
        await fsm.admin().client.put(f"/api/v1/{plural}/decider", document)
    with pytest.raises(Forbidden):
        await rule_on(decider, name, "accept")
    stranger = somebody("user:stranger", "admin", tenants=("acme",))
    assert await requests(stranger) == []
    with pytest.raises(NotFound):
        await rule_on(stranger, name, "refuse")
    assert (await rule_on(decider, name, "refuse"))["spec"]["state"] == "refused"
