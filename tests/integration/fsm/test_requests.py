"""What the FSM takes of a site's change requests, and to whom it sends them."""

from typing import Any

import pytest

from fsm.requests.receive import MOST_OPEN
from shared.errors import Conflict, HanseError, NotFound
from shared.tasks.group import Group
from tests.integration.fsm.harness import (
    FSM,
    JoinedSite,
    MemoryCopy,
    Person,
    follow,
    join_site,
)
from tests.integration.fsm.test_status import ALLOW

DENY = {"rules": [{**ALLOW["rules"][0], "action": "deny"}]}


@pytest.fixture
async def revision(fsm: FSM, admin: Person) -> int:
    """The revision of policy p, which is for production alone."""
    await admin.put("networks", "AppX", {})
    sites = {"matchLabels": {"env": "prod"}}
    made = await admin.put("securitypolicies", "p", {**ALLOW, "sites": sites})
    return int(made["metadata"]["revision"])


@pytest.fixture
async def sfo(fsm: FSM, admin: Person, revision: int) -> JoinedSite:
    return await join_site(fsm, await admin.token("sfo"))


@pytest.fixture
async def fra(fsm: FSM, admin: Person, revision: int) -> JoinedSite:
    return await join_site(fsm, await admin.token("fra"))


def wish(revision: int, **fields: Any) -> dict[str, Any]:
    return {
        "name": "sfo-p-1",
        "target": {"kind": "SecurityPolicy", "name": "p"},
        "baseRevision": revision,
        "spec": DENY,
        "reason": "because",
        "requestedBy": "user:anna",
        "at": "2026-01-01T00:00:00Z",
        "conflict": "edited-both-p-1",
        **fields,
    }


async def send(site: JoinedSite, body: dict[str, Any]) -> Any:
    return (await site.client.post("/feed/v1/changerequests", body)).json()


async def kept(admin: Person, name: str = "sfo-p-1") -> dict[str, Any]:
    found = (await admin.client.get(f"/api/v1/changerequests/{name}")).json()
    return dict(found["spec"])


async def test_a_request_counts_once_and_holds_what_the_site_knew(
    fsm: FSM, admin: Person, sfo: JoinedSite, revision: int
) -> None:
    await admin.put("securitypolicies", "p", {**ALLOW, "priority": 300})
    body = wish(revision)
    for _ in range(2):
        assert await send(sfo, body) == {"name": "sfo-p-1", "state": "open"}
    spec = await kept(admin)
    assert (spec["site"], spec["reason"], spec["requestedBy"]) == ("sfo", "because", "user:anna")
    assert spec["base"]["revision"] == revision
    assert "priority" not in spec["base"]["spec"], "as it was, not as it is"
    assert spec["spec"] == DENY
    items = (await admin.client.get("/api/v1/changerequests")).json()["items"]
    assert len(items) == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param({"baseRevision": 1}, "unknown_base", id="a version that there never was"),
        pytest.param({"baseRevision": 2**40}, "unknown_base", id="one that is still to come"),
        pytest.param(
            {"target": {"kind": "SecurityPolicy", "name": "q"}}, "unknown_target", id="no target"
        ),
        pytest.param({"scope": "region/west"}, "unknown_target", id="another scope"),
        pytest.param(
            {"target": {"kind": "Site", "name": "sfo"}}, "unknown_target", id="no such kind"
        ),
        pytest.param({"tenant": "nobody"}, "unknown_tenant", id="nobody's"),
        pytest.param({"spec": {"rules": [{"name": "x"}]}}, "missing_field", id="no policy"),
        pytest.param(
            {"spec": {"rules": [{**DENY["rules"][0], "from": [{"cidr": "10.0.0.0/8"}]}]}},
            "address_in_global_policy",
            id="an address",
        ),
        pytest.param({"reason": ""}, "invalid_value", id="no reason"),
        pytest.param({"site": "fra"}, "unknown_field", id="in another's name"),
    ],
)
async def test_what_can_not_be_asked_is_refused_with_its_code(
    admin: Person, sfo: JoinedSite, revision: int, fields: dict[str, Any], code: str
) -> None:
    with pytest.raises(HanseError) as refused:
        await send(sfo, wish(revision, **fields))
    assert code in {refused.value.code, *(each.code for each in refused.value.fields)}
    assert (await admin.client.get("/api/v1/changerequests")).json()["items"] == []


async def test_a_site_asks_about_nothing_that_it_may_not_know_of(
    admin: Person, sfo: JoinedSite, fra: JoinedSite, revision: int
) -> None:
    with pytest.raises(HanseError) as hidden:
        await send(fra, wish(revision, name="fra-p-1"))
    with pytest.raises(HanseError) as absent:
        await send(
            fra, wish(revision, name="fra-p-1", target={"kind": "SecurityPolicy", "name": "p2"})
        )
    assert hidden.value.code == absent.value.code == "unknown_target"
    assert hidden.value.message.replace(" p ", " p2 ") == absent.value.message


async def test_a_request_is_its_own_site_s_alone(
    fsm: FSM, admin: Person, sfo: JoinedSite, fra: JoinedSite, revision: int
) -> None:
    copies = {"sfo": MemoryCopy(), "fra": MemoryCopy()}
    async with Group() as group:
        for site, joined in (("sfo", sfo), ("fra", fra)):
            group.start(follow(joined.client, copies[site]).run(), name=site)
        await send(sfo, wish(revision))
        await copies["sfo"].until(lambda: bool(copies["sfo"].names("ChangeRequest")))
        await admin.put("networks", "later", {})
        await copies["fra"].until(lambda: "later" in copies["fra"].names("Network"))
        assert copies["fra"].names("ChangeRequest") == set()
    for answer in (fra.client.get("/feed/v1/snapshot"), sfo.client.get("/feed/v1/snapshot")):
        objects = (await answer).json()["objects"]
        found = [each for each in objects if each["kind"] == "ChangeRequest"]
        assert {each["spec"]["site"] for each in found} <= {"sfo"}
    with pytest.raises(Conflict) as taken:
        await send(fra, wish(revision))
    assert taken.value.code == "request_exists"
    assert (await kept(admin))["site"] == "sfo"


async def test_what_is_withdrawn_is_not_decided_and_what_is_decided_not_withdrawn(
    admin: Person, sfo: JoinedSite, revision: int
) -> None:
    await send(sfo, wish(revision))
    assert (await send(sfo, wish(revision, withdrawn="moot")))["state"] == "withdrawn"
    spec = await kept(admin)
    assert (spec["state"], spec["answer"]) == ("withdrawn", "moot")
    # One that was never heard of before is kept as what it is.
    assert (await send(sfo, wish(revision, name="sfo-p-2", withdrawn="moot")))["state"] == (
        "withdrawn"
    )
    await send(sfo, wish(revision, name="sfo-p-3"))
    body = {"decision": "refuse", "reason": "no"}
    await admin.client.post("/api/v1/changerequests/sfo-p-3/decision", body)
    assert (await send(sfo, wish(revision, name="sfo-p-3", withdrawn="moot")))["state"] == "refused"


async def test_a_dry_run_of_a_decision_leaves_all_as_it_is(
    admin: Person, sfo: JoinedSite, revision: int
) -> None:
    await send(sfo, wish(revision))
    for decision, state in (("accept", "accepted"), ("refuse", "refused")):
        body = {"decision": decision, "reason": "let me see"}
        answer = await admin.client.post(
            "/api/v1/changerequests/sfo-p-1/decision", body, params={"dryRun": "true"}
        )
        assert answer.json()["spec"]["state"] == state
        assert "state" not in await kept(admin)
    policy = (await admin.client.get("/api/v1/securitypolicies/p")).json()
    assert policy["metadata"]["revision"] == revision


async def test_what_the_federation_would_not_write_it_does_not_accept(
    admin: Person, sfo: JoinedSite, revision: int
) -> None:
    """The name was there when the site asked, and is judged when somebody accepts."""
    rules = [{**DENY["rules"][0], "from": [{"network": "Gone"}]}]
    await send(sfo, wish(revision, spec={"rules": rules}))
    body = {"decision": "accept", "reason": "yes"}
    with pytest.raises(HanseError) as refused:
        await admin.client.post("/api/v1/changerequests/sfo-p-1/decision", body)
    assert refused.value.code == "unknown_network"
    assert "state" not in await kept(admin)
    await admin.delete("securitypolicies", "p")
    with pytest.raises(Conflict) as gone:
        await admin.client.post("/api/v1/changerequests/sfo-p-1/decision", body)
    assert gone.value.code == "target_gone"
    with pytest.raises(NotFound):
        await admin.client.post("/api/v1/changerequests/nothing/decision", body)


async def test_a_site_asks_for_so_much_at_a_time(
    admin: Person, sfo: JoinedSite, revision: int
) -> None:
    for number in range(MOST_OPEN):
        await send(sfo, wish(revision, name=f"sfo-p-{number}"))
    with pytest.raises(Conflict) as refused:
        await send(sfo, wish(revision, name="sfo-p-more"))
    assert refused.value.code == "too_many_open_requests"
    await send(sfo, wish(revision, name="sfo-p-0"))
