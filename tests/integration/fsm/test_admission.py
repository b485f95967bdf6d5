"""What the FSM refuses, asked of its real API; nothing of a refused batch is written."""

from typing import Any

import openapi_spec_validator
import pytest

from shared.errors import Invalid
from shared.ids import COMMON, FEDERATION, Key
from shared.store.contract import Draft
from tests.integration.fsm.harness import FSM, Person


def rule(**fields: Any) -> dict[str, Any]:
    return {"name": "r", "from": [{"network": "AppX"}], "to": "any", "action": "allow", **fields}


def policy(*rules: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"rules": list(rules or [rule()]), **spec}


async def refusal(admin: Person, *arguments: Any, **metadata: Any) -> tuple[str, str]:
    with pytest.raises(Invalid) as caught:
        await admin.put(*arguments, **metadata)
    [fault] = caught.value.fields
    return fault.code, fault.path


@pytest.fixture
async def named(admin: Person) -> Person:
    await admin.put("networks", "AppX", {})
    return admin


async def test_an_address_in_a_global_policy(named: Person) -> None:
    spec = policy(rule(to=[{"cidr": "10.0.0.0/8"}]))
    found = await refusal(named, "securitypolicies", "p", spec)
    assert found == ("address_in_global_policy", "spec.rules[0].to[0].cidr")


async def test_an_undeclared_network_and_service(named: Person) -> None:
    spec = policy(rule(to=[{"network": "Databse"}]))
    found = await refusal(named, "securitypolicies", "p", spec)
    assert found == ("unknown_network", "spec.rules[0].to[0].network")
    spec = policy(rule(services=[{"service": "postgre"}]))
    found = await refusal(named, "securitypolicies", "p", spec)
    assert found == ("unknown_service", "spec.rules[0].services[0].service")


async def test_a_name_declared_further_in_only(named: Person) -> None:
    await named.put("networks", "Inner", {}, scope="region/west")
    spec = policy(rule(to=[{"network": "Inner"}]))
    code, _ = await refusal(named, "securitypolicies", "p", spec)
    assert code == "unknown_network"
    await named.put("securitypolicies", "p", spec, scope="region/west")


async def test_a_name_of_another_tenant(named: Person) -> None:
    for tenant in ("shop", "bank"):
        await named.put("tenants", tenant, {})
    await named.put("networks", "Till", {}, tenant="bank")
    spec = policy(rule(to=[{"network": "Till"}]))
    code, _ = await refusal(named, "securitypolicies", "p", spec, tenant="shop")
    assert code == "unknown_network"
    await named.put("securitypolicies", "p", spec, tenant="bank")


async def test_low_priorities_are_common_s(named: Person) -> None:
    await named.put("tenants", "shop", {})
    found = await refusal(named, "securitypolicies", "p", policy(priority=99), tenant="shop")
    assert found == ("priority_reserved", "spec.priority")


async def test_a_region_s_policy_under_a_mandatory_one(named: Person) -> None:
    test_only = {"matchLabels": {"env": "test"}}
    await named.put("securitypolicies", "p", policy(enforcement="mandatory", sites=test_only))
    found = await refusal(named, "securitypolicies", "p", policy(), scope="region/west")
    assert found == ("mandatory_policy_exists", "metadata.name")


async def test_a_mandatory_policy_over_a_region_s_one_of_its_name(named: Person) -> None:
    await named.put("securitypolicies", "p", policy(), scope="region/west")
    with pytest.raises(Invalid) as caught:
        await named.put("securitypolicies", "p", policy(enforcement="mandatory"))
    assert caught.value.code == "mandatory_policy_exists"
    assert "region/west" in caught.value.message


async def test_a_definition_under_a_sealed_one(named: Person) -> None:
    await named.put("services", "web", {"entries": [{"protocol": "tcp", "ports": [80]}]})
    entries = {"entries": [{"protocol": "tcp", "ports": [8080]}]}
    found = await refusal(named, "services", "web", entries, scope="region/west")
    assert found == ("sealed", "metadata.name")


@pytest.mark.parametrize(
    ("arguments", "metadata", "code"),
    [
        (("networks", "N", {}), {"scope": "region/wset"}, "unknown_region"),
        (("networks", "N", {}), {"tenant": "nobody"}, "unknown_tenant"),
        (("sites", "muc", {"region": "nowhere"}), {}, "unknown_region"),
        (("regions", "loop", {"parent": "loop"}), {}, "cycle"),
    ],
)
async def test_what_hangs_on_nothing(
    admin: Person, arguments: tuple[Any, ...], metadata: Any, code: str
) -> None:
    found, _ = await refusal(admin, *arguments, **metadata)
    assert found == code


async def test_a_cycle_closed_by_an_update(admin: Person) -> None:
    await admin.put("regions", "inner", {"parent": "west"})
    found, _ = await refusal(admin, "regions", "west", {"parent": "inner"})
    assert found == "cycle"


@pytest.mark.parametrize(
    ("plural", "name"),
    [("networks", "AppX"), ("regions", "west"), ("tenants", "shop"), ("services", "web")],
)
async def test_what_something_names_is_not_deleted(named: Person, plural: str, name: str) -> None:
    await named.put("tenants", "shop", {})
    await named.put("services", "web", {"entries": [{"protocol": "tcp", "ports": [80]}]})
    await named.put(
        "securitypolicies", "p", policy(rule(services=[{"service": "web"}])), tenant="shop"
    )
    with pytest.raises(Invalid) as caught:
        await named.delete(plural, name)
    assert caught.value.code == "in_use"


async def test_a_name_goes_together_with_what_names_it(named: Person) -> None:
    await named.put("securitypolicies", "p", policy())
    operations = [
        {"operation": "delete", "object": {"kind": kind, "metadata": {"name": name}}}
        for kind, name in (("Network", "AppX"), ("SecurityPolicy", "p"))
    ]
    await named.client.post("/api/v1/transactions", {"operations": operations})


async def test_moving_a_region_can_t_take_a_name_from_a_policy(named: Person) -> None:
    await named.put("regions", "us", {})
    await named.put("regions", "west", {"parent": "us"})
    await named.put("networks", "Coast", {}, scope="region/us")
    spec = policy(rule(to=[{"network": "Coast"}]))
    await named.put("securitypolicies", "p", spec, scope="region/west")
    with pytest.raises(Invalid) as caught:
        await named.put("regions", "west", {})
    assert caught.value.code == "unknown_network"


async def test_two_tenants_can_t_have_the_same_inherited_addresses(admin: Person) -> None:
    for tenant in ("shop", "bank"):
        await admin.put("tenants", tenant, {})
    await admin.put("networks", "A", {"subnets": ["10.1.0.0/16"]}, tenant="shop")
    found = await refusal(admin, "networks", "B", {"subnets": ["10.1.2.0/24"]}, tenant="bank")
    assert found[0] == "address_taken"


async def test_a_batch_is_judged_whole_and_refused_whole(admin: Person) -> None:
    def put(kind: str, name: str, spec: Any) -> dict[str, Any]:
        document = {
            "apiVersion": "hanse/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        return {"operation": "put", "object": document}

    good = [put("SecurityPolicy", "p", policy()), put("Network", "AppX", {})]
    bad = put("SecurityPolicy", "q", policy(rule(to=[{"network": "Typo"}])))
    with pytest.raises(Invalid) as caught:
        await admin.client.post("/api/v1/transactions", {"operations": [*good, bad]})
    [fault] = caught.value.fields
    assert fault.path == "operations[2].object.spec.rules[0].to[0].network"
    listed = (await admin.client.get("/api/v1/networks")).json()
    assert listed["items"] == []
    await admin.client.post("/api/v1/transactions", {"operations": good})


async def test_an_old_fault_doesn_t_stop_other_writes(fsm: FSM, named: Person) -> None:
    """What upgrades or another process let in is not for the next writer to mend."""
    bad = Draft(
        Key("SecurityPolicy", COMMON, FEDERATION, "old"), policy(rule(to=[{"network": "X"}]))
    )

    async def work(transaction: Any) -> None:
        await transaction.put(bad)

    await fsm.running.store.transact(work)
    await named.put("securitypolicies", "new", policy())


async def test_the_openapi_document_is_valid_and_has_the_fsm_s_routes(admin: Person) -> None:
    document = (await admin.client.get("/openapi.json")).json()
    openapi_spec_validator.validate(document)
    for path in (
        "/feed/v1/changes",
        "/feed/v1/snapshot",
        "/api/v1/status",
        "/enroll/v1/join",
        "/api/v1/sites/{name}/jointoken",
        "/pki/root",
    ):
        assert path in document["paths"]
