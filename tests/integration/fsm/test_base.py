"""A draft is applied only while what it was judged by stands: its objects, and what decides them."""

from typing import Any

import pytest

from shared.errors import Conflict
from tests.fakes.tokens import token_for
from tests.integration.fsm.harness import FSM, Person
from tests.integration.road.world import document

DENY: dict[str, Any] = {
    "rules": [
        {
            "name": "r",
            "from": "any",
            "to": [{"network": "A"}],
            "services": [{"service": "web"}],
            "action": "deny",
        }
    ]
}
WEB = {"entries": [{"protocol": "tcp", "ports": ["443"]}]}


async def base_of(person: Person) -> dict[str, Any]:
    found = (await person.client.get("/api/v1/networks", params={"limit": "1"})).json()
    return {name: found["metadata"][name] for name in ("revision", "incarnation")}


async def apply(
    person: Person, base: dict[str, Any], *documents: dict[str, Any], **how: Any
) -> int:
    operations = [{"operation": "put", "object": each} for each in documents]
    body = {"operations": operations, "base": base}
    answer = await person.client.post("/api/v1/transactions", body, params=how or None)
    return int(answer.json()["revision"])


async def moved(person: Person, base: dict[str, Any], *documents: dict[str, Any]) -> str:
    """Return what an apply is refused with, which names the objects."""
    for how in ({"dryRun": "true"}, {}):
        with pytest.raises(Conflict) as caught:
            await apply(person, base, *documents, **how)
        assert caught.value.code == "base_moved"
    return caught.value.message


@pytest.fixture
async def declared(fsm: FSM, admin: Person) -> Person:
    await admin.put("networks", "A", {})
    await admin.put("services", "web", WEB)
    await admin.put("securitypolicies", "p", DENY)
    del fsm
    return admin


def draft(name: str = "p", **fields: Any) -> dict[str, Any]:
    return document("SecurityPolicy", name, {**DENY, "priority": 200, **fields})


async def test_what_was_judged_and_still_stands_is_applied(declared: Person) -> None:
    base = await base_of(declared)
    await declared.put("networks", "elsewhere", {})
    await declared.put("securitypolicies", "other", {**DENY, "priority": 1})
    assert await apply(declared, base, draft()) > base["revision"]
    # Whoever applies again what he has looked at before that is told of himself.
    assert "SecurityPolicy p" in await moved(declared, base, draft(priority=300))


async def test_an_object_of_the_draft_that_has_changed_refuses_it_by_name(
    declared: Person,
) -> None:
    base = await base_of(declared)
    await declared.put("securitypolicies", "p", {**DENY, "priority": 7})
    said = await moved(declared, base, draft())
    assert "SecurityPolicy p (federation) was changed by user:admin in revision" in said
    fresh = await base_of(declared)
    await declared.delete("securitypolicies", "p")
    assert "SecurityPolicy p (federation) was deleted by user:admin" in await moved(
        declared, fresh, draft()
    )
    await declared.put("securitypolicies", "new", DENY)
    assert "SecurityPolicy new" in await moved(declared, fresh, draft("new"))
    assert (await declared.client.get("/api/v1/securitypolicies/new")).json()["spec"] == DENY


async def test_what_decides_a_draft_refuses_it_as_well(declared: Person) -> None:
    steps = (
        ("networks", "A", {"subnets": ["10.0.0.0/8"]}, "Network A"),
        ("services", "web", {"entries": [{"protocol": "udp", "ports": ["443"]}]}, "Service web"),
        ("sites", "fra", {"region": "west"}, "Site fra"),
        ("regions", "east", {}, "Region east"),
    )
    for plural, name, spec, named in steps:
        base = await base_of(declared)
        await declared.put(plural, name, spec)
        assert named in await moved(declared, base, draft())
    # A definition in a region hides the federation's for the sites there.
    base = await base_of(declared)
    await declared.put("networks", "A", {"subnets": ["10.1.0.0/16"]}, scope="region/west")
    assert "Network A (region/west)" in await moved(declared, base, draft())
    # And the policies that use what the draft defines.
    base = await base_of(declared)
    await declared.put("securitypolicies", "p", {**DENY, "priority": 9})
    redefined = document("Network", "A", {"subnets": ["10.2.0.0/16"]})
    assert "SecurityPolicy p" in await moved(declared, base, redefined)
    assert await apply(declared, await base_of(declared), redefined)


async def test_a_base_of_another_store_or_of_the_future_is_none(declared: Person) -> None:
    base = await base_of(declared)
    await moved(declared, {**base, "revision": base["revision"] + 1000}, draft())
    await moved(declared, {**base, "incarnation": "elsewhere"}, draft())
    assert await apply(declared, {**base, "incarnation": base["incarnation"][:8]}, draft())


async def test_nobody_is_told_of_what_he_may_not_see(fsm: FSM, declared: Person) -> None:
    await declared.put("tenants", "acme", {})
    await declared.put("tenants", "rival", {})
    token = token_for(fsm.running.logins, fsm.clock, "admin", tenants=["acme"], subject="user:kim")
    kim = Person(fsm.visitor(lambda: token))
    base = await base_of(kim)
    uses = {"rules": [{**DENY["rules"][0], "to": [{"network": "A"}]}]}
    drafted = document("SecurityPolicy", "own", uses, tenant="acme")
    await declared.put("networks", "A", {"subnets": ["10.9.0.0/16"]})
    said = await moved(kim, base, drafted)
    assert "something that you may not see" in said
    assert "Network" not in said
    assert "user:admin" not in said
