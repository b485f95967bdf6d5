"""What people do with objects, through the real server and the real store."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from shared.errors import FieldError, Forbidden, HanseError, Invalid, Malformed, NotFound
from shared.ids import Key
from shared.objects.admission import AdmissionChain, Batch, Fault, Review
from shared.store.contract import Draft, Selection, Snapshot, Transaction
from tests.integration.api.harness import (
    PATH,
    Api,
    audit_actions,
    network,
    put,
    revision,
    running_api,
)


async def test_an_object_is_created_read_replaced_and_deleted(api: Api) -> None:
    client = api.client("admin")

    created = await client.put(PATH, network("web", "10.0.0.0/24"))
    again = await client.put(PATH, network("web", "10.0.0.0/24"))
    replaced = await client.put(PATH, network("web", "10.0.1.0/24"))
    read = await client.get(PATH)
    deleted = await client.request("DELETE", PATH)

    assert (created.status, again.status, replaced.status) == (201, 200, 200)
    assert again.json() == created.json()
    assert read.json() == replaced.json()
    assert read.headers["ETag"] == f'"{revision(replaced)}"'
    metadata = read.json()["metadata"]
    assert metadata["generation"] == 2
    assert metadata["uid"] == created.json()["metadata"]["uid"]
    assert metadata["createdAt"] <= metadata["updatedAt"]
    assert deleted.json()["spec"] == {"subnets": ["10.0.1.0/24"]}
    with pytest.raises(NotFound):
        await client.get(PATH)


async def test_a_document_that_was_read_can_be_written_back(api: Api) -> None:
    client = api.client("admin")
    document = (await client.put(PATH, network("web", "10.0.0.0/24"))).json()

    assert (await client.put(PATH, document)).json() == document


async def test_a_dry_run_says_what_would_be_and_does_nothing(api: Api) -> None:
    client = api.client("admin")
    dry = {"dryRun": "true"}

    would = await client.put(PATH, network("web", "10.0.0.0/24"), params=dry)

    assert would.json()["spec"] == {"subnets": ["10.0.0.0/24"]}
    assert (await api.store.position()).revision == 0
    assert await audit_actions(api) == [("PUT /api/v1/networks/{name}", "ok")]
    with pytest.raises(NotFound):
        await client.request("DELETE", PATH, params=dry)


async def test_a_patch_changes_what_it_names(api: Api) -> None:
    client = api.client("admin")
    await client.put(PATH, network("web", "10.0.0.0/24", labels={"a": "1", "b": "2"}))

    patched = await client.request(
        "PATCH",
        PATH,
        body={"metadata": {"labels": {"a": None, "c": "3"}}, "spec": {"vlan": 110}},
    )

    assert patched.json()["metadata"]["labels"] == {"b": "2", "c": "3"}
    assert patched.json()["spec"] == {"subnets": ["10.0.0.0/24"], "vlan": 110}


async def test_patches_of_different_fields_at_once_are_all_kept(api: Api) -> None:
    client = api.client("admin")
    await client.put(PATH, network("web"))

    await asyncio.gather(
        *(
            client.request("PATCH", PATH, body={"metadata": {"labels": {f"l{number}": "x"}}})
            for number in range(4)
        )
    )

    assert len((await client.get(PATH)).json()["metadata"]["labels"]) == 4


@pytest.mark.parametrize(
    ("document", "path", "code"),
    [
        (network("web") | {"spec": {"subnet": []}}, "spec.subnet", "unknown_field"),
        (network("web") | {"status": {"ok": True}}, "status", "status_refused"),
        (network("web") | {"kind": "Service"}, "kind", "path_mismatch"),
        (network("other"), "metadata.name", "path_mismatch"),
        (network("web", "10.0.0.1/8"), "spec.subnets[0]", "invalid_subnet"),
        (network("web", scope="site"), "metadata.scope", "scope_not_here"),
        (network("web", scope="region/"), "metadata.scope", "scope_not_here"),
        ([], "", "invalid_value"),
    ],
)
async def test_a_bad_document_is_refused_with_the_place(api: Api, document, path, code) -> None:
    with pytest.raises(Invalid) as caught:
        await api.client("admin").put(PATH, document)

    assert (path, code) in [(fault.path, fault.code) for fault in caught.value.fields]
    assert (await api.store.position()).revision == 0


async def test_a_patch_cannot_move_an_object(api: Api) -> None:
    client = api.client("admin")
    await client.put(PATH, network("web"))
    with pytest.raises(Invalid) as caught:
        await client.request("PATCH", PATH, body={"metadata": {"tenant": "acme"}})
    assert caught.value.code == "path_mismatch"


async def test_parameters_that_a_route_does_not_know_are_refused(api: Api) -> None:
    client = api.client("admin")
    for path in (PATH, "/api/v1/networks", "/api/v1/watch", "/api/v1/audit"):
        with pytest.raises(Malformed) as caught:
            await client.get(path, params={"dryrun": "true"})
        assert caught.value.code == "unknown_parameter"


# Secrets


async def test_a_secret_never_comes_back(api: Api) -> None:
    client = api.client("admin")
    path = "/api/v1/credentials/ldap"
    document = {
        "apiVersion": "hanse/v1",
        "kind": "Credential",
        "metadata": {"name": "ldap"},
        "spec": {"secret": "the-secret-text"},
    }

    answers = [await client.put(path, document)]
    answers.append(await client.put(path, document | {"spec": {"secret": "the-secret-text-2"}}))
    answers.append(await client.request("PATCH", path, body={"metadata": {"labels": {"a": "b"}}}))
    answers.append(await client.get(path))
    answers.append(await client.get("/api/v1/credentials"))
    answers.append(await client.get(f"{path}/history"))
    answers.append(await client.get("/api/v1/audit"))
    async with client.stream("GET", "/api/v1/watch", params={"after": "0"}) as lines:
        watched = [await anext(lines) for _ in range(3)]
    answers.append(await client.request("DELETE", path))
    for params in ({"fieldSelector": "spec.secret=the-secret-text-2"},):
        found = await client.get("/api/v1/credentials", params=params)
        assert found.json()["items"] == []

    assert all(b"the-secret" not in answer.body for answer in answers)
    assert "the-secret" not in str(watched)


# Inherited objects, kinds of the system, other components' kinds


async def test_inherited_objects_are_read_only_at_a_site(tmp_path: Path) -> None:
    async with running_api(tmp_path, home="sdsp") as api:
        inherited = Key("Network", "common", "federation", "web")

        async def deliver(transaction: Transaction) -> None:
            await transaction.put(Draft(inherited, {}, origin="federation"))

        await api.store.transact(deliver)
        client = api.client("admin")
        params = {"scope": "federation"}

        for method, body in (("DELETE", None), ("PATCH", {"spec": {"vlan": 5}})):
            with pytest.raises(HanseError) as caught:
                await client.request(method, PATH, body=body, params=params)
            assert caught.value.code in ("scope_not_here", "inherited_read_only")
        assert (await client.get(PATH, params=params)).json()["metadata"]["origin"] == "federation"
        with pytest.raises(NotFound, match="scope federation"):
            await client.get(PATH)
        local = await client.put(PATH, network("web", "10.0.0.0/24"))
        assert local.json()["metadata"]["origin"] == "local"
        assert local.json()["metadata"]["scope"] == "site"


async def test_what_the_system_writes_has_no_route_for_people_and_no_way_through_a_batch(
    api: Api,
) -> None:
    client = api.client("admin")
    subscription = {
        "apiVersion": "hanse/v1",
        "kind": "Subscription",
        "metadata": {"name": "sfo"},
        "spec": {},
    }
    with pytest.raises(HanseError) as caught:
        await client.put("/api/v1/subscriptions/sfo", subscription)
    assert caught.value.code == "method_not_allowed"
    with pytest.raises(Forbidden) as refused:
        await client.post("/api/v1/transactions", {"operations": [put(subscription)]})
    assert refused.value.code == "written_by_system"


async def test_a_kind_of_another_component_is_not_here(api: Api) -> None:
    client = api.client("admin")
    with pytest.raises(NotFound):
        await client.get("/api/v1/workloads")
    workload = {
        "apiVersion": "hanse/v1",
        "kind": "Workload",
        "metadata": {"name": "web-1"},
        "spec": {"addresses": ["10.0.0.1"]},
    }
    with pytest.raises(Invalid) as caught:
        await client.post("/api/v1/transactions", {"operations": [put(workload)]})
    assert caught.value.code == "scope_not_here"


# Admission


class AtMostTwo:
    """Refuses a third network; its judgement rests on all networks."""

    def __init__(self) -> None:
        self.reviews = 0

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        self.reviews += 1
        networks = Selection(kinds=frozenset({"Network"}))
        count = len(await snapshot.list(networks))
        count += sum(each.before is None for each in batch.proposals)
        if count <= 2:
            return Review(depends_on=networks)
        fault = FieldError("metadata.name", "too_many", "there are two networks already")
        return Review(faults=(Fault(0, fault),), depends_on=networks)


async def test_rules_hold_when_many_write_at_once(tmp_path: Path) -> None:
    rule = AtMostTwo()
    async with running_api(tmp_path, admission=AdmissionChain([rule])) as api:
        client = api.client("admin")

        async def create(number: int) -> str:
            try:
                await client.put(f"/api/v1/networks/n{number}", network(f"n{number}"))
            except Invalid as exc:
                return exc.code
            return "created"

        outcomes = Counter(await asyncio.gather(*(create(number) for number in range(12))))

        assert outcomes == {"created": 2, "too_many": 10}
        assert rule.reviews > 12, "some must have been judged anew"
        assert len((await client.get("/api/v1/networks")).json()["items"]) == 2


async def test_a_warning_reaches_whoever_writes(tmp_path: Path) -> None:
    class Warns:
        async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
            warning = FieldError("spec", "odd", 'this is "odd"')
            return Review(warnings=(Fault(0, warning),))

    async with running_api(tmp_path, admission=Warns()) as api:
        client = api.client("admin")
        answer = await client.put(PATH, network("web"))
        batch = await client.post("/api/v1/transactions", {"operations": [put(network("app"))]})

    assert answer.headers["Warning"] == '299 hanse "this is \\"odd\\""'
    assert batch.json()["warnings"][0]["code"] == "odd"


# Tenants


async def test_other_tenants_objects_are_not_there(api: Api) -> None:
    admin, tenant = api.client("admin"), api.client("policy-author", tenants=["acme"])
    for name in ("acme", "rival"):
        document = network("secret-net", "10.0.0.0/24", tenant=name)
        await admin.put("/api/v1/networks/secret-net", document, params={"tenant": name})

    listed = (await tenant.get("/api/v1/networks")).json()["items"]
    assert [item["metadata"]["tenant"] for item in listed] == ["acme"]
    for params in ({"tenant": "rival"}, {}):
        with pytest.raises(NotFound) as there:
            await tenant.get("/api/v1/networks/secret-net", params=params)
        with pytest.raises(NotFound) as not_there:
            await tenant.get("/api/v1/networks/no-such-net", params=params)
        same = there.value.message.replace("secret-net", "NAME")
        assert same == not_there.value.message.replace("no-such-net", "NAME")
        with pytest.raises(NotFound):
            await tenant.get("/api/v1/networks/secret-net/history", params=params)
        with pytest.raises(NotFound):
            await tenant.request("DELETE", "/api/v1/networks/secret-net", params=params)
        with pytest.raises(NotFound):
            await tenant.request(
                "PATCH", "/api/v1/networks/secret-net", body={"spec": {}}, params=params
            )
    assert (await tenant.get("/api/v1/networks", params={"tenant": "rival"})).json()["items"] == []
    with pytest.raises(NotFound):
        await tenant.put(
            "/api/v1/networks/new", network("new", tenant="rival"), params={"tenant": "rival"}
        )
    async with tenant.stream("GET", "/api/v1/watch", params={"after": "0"}) as lines:
        heard = [await anext(lines) for _ in range(2)]
    assert "rival" not in str(heard)
