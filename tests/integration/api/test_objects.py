"""What people do with objects, through the real server and the real store."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from shared.errors import (
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    HanseError,
    Invalid,
    Malformed,
    NotFound,
    RevisionCompacted,
    RevisionConflict,
)
from shared.ids import Key, Revision
from shared.objects.admission import AdmissionChain, Batch, Fault, Review
from shared.objects.service import Options, Write, Written
from shared.store.contract import Draft, Selection, Snapshot, Transaction
from tests.integration.api.harness import Api, network, running_api

WEB = Key("Network", "common", "federation", "web")
PATH = "/api/v1/networks/web"


def revision(answer) -> int:
    return answer.json()["metadata"]["revision"]


async def audit_actions(api: Api) -> list[tuple[str, str]]:
    await api.services.trail.flush()
    return [(r.action, r.outcome) for _, r in await api.store.audit_records()][::-1]


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


async def test_a_stale_revision_changes_nothing(api: Api) -> None:
    client = api.client("admin")
    first = await client.put(PATH, network("web", "10.0.0.0/24"))
    second = await client.put(PATH, network("web", "10.0.1.0/24"))
    stale = {"If-Match": first.headers["ETag"]}

    for method, body in (
        ("PUT", network("web", "10.0.2.0/24")),
        ("PATCH", {"spec": {"vlan": 5}}),
        ("DELETE", None),
    ):
        with pytest.raises(RevisionConflict) as caught:
            await client.request(method, PATH, body=body, headers=stale)
        assert caught.value.code == "revision_conflict"

    assert (await client.get(PATH)).json() == second.json()
    assert (await api.store.position()).revision == revision(second)


async def test_if_none_match_only_creates(api: Api) -> None:
    client = api.client("admin")
    absent = {"If-None-Match": "*"}

    await client.request("PUT", PATH, body=network("web"), headers=absent)
    with pytest.raises(RevisionConflict):
        await client.request("PUT", PATH, body=network("web", "10.0.0.0/8"), headers=absent)


@pytest.mark.parametrize(
    "headers",
    [{"If-Match": "new"}, {"If-Match": "-1"}, {"If-None-Match": '"3"'}, {"If-Match": "9" * 30}],
)
async def test_a_condition_that_means_nothing_is_refused(api: Api, headers) -> None:
    with pytest.raises(Malformed):
        await api.client("admin").request("PUT", PATH, body=network("web"), headers=headers)


async def test_of_16_writers_exactly_one_wins_each_revision(api: Api) -> None:
    client = api.client("admin")
    current = revision(await client.put(PATH, network("web", "10.0.0.0/24")))

    for turn in range(3):

        async def attempt(number: int, turn: int = turn, current: int = current) -> str:
            body = network("web", f"10.{turn + 1}.{number}.0/24")
            try:
                await client.request("PUT", PATH, body=body, headers={"If-Match": f'"{current}"'})
            except RevisionConflict:
                return "lost"
            return "won"

        outcomes = Counter(await asyncio.gather(*(attempt(number) for number in range(16))))
        assert outcomes == {"won": 1, "lost": 15}
        current = revision(await client.get(PATH))
    assert current == 4


async def test_16_writers_without_a_condition_all_get_through(api: Api) -> None:
    client = api.client("admin")
    await asyncio.gather(
        *(client.put(PATH, network("web", f"10.0.{number}.0/24")) for number in range(16))
    )
    assert (await client.get(PATH)).json()["metadata"]["generation"] == 16


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


async def test_lists_are_filtered_by_labels_and_fields(api: Api) -> None:
    client = api.client("admin")
    for name, labels in (("a", {"env": "prod"}), ("b", {"env": "test"}), ("c", {})):
        await client.put(f"/api/v1/networks/{name}", network(name, labels=labels))

    async def names(**params: str) -> list[str]:
        answer = await client.get("/api/v1/networks", params=params)
        return [item["metadata"]["name"] for item in answer.json()["items"]]

    assert await names() == ["a", "b", "c"]
    assert await names(labelSelector="env=prod") == ["a"]
    assert await names(labelSelector="env!=prod") == ["b", "c"]
    assert await names(labelSelector="env in (prod, test),env notin (test)") == ["a"]
    assert await names(labelSelector="!env") == ["c"]
    assert await names(fieldSelector="metadata.name=b") == ["b"]
    assert await names(tenant="acme") == []
    assert await names(scope="region/west") == []


async def test_a_list_in_pages_is_as_of_its_first_page(api: Api) -> None:
    client = api.client("admin")
    for number in range(5):
        await client.put(f"/api/v1/networks/n{number}", network(f"n{number}"))

    first = (await client.get("/api/v1/networks", params={"limit": "2"})).json()
    await client.request("DELETE", "/api/v1/networks/n3")
    await client.put("/api/v1/networks/n9", network("n9"))
    names = [item["metadata"]["name"] for item in first["items"]]
    goes_on = first["metadata"].get("continue")
    while goes_on:
        page = (
            await client.get("/api/v1/networks", params={"limit": "2", "continue": goes_on})
        ).json()
        assert page["metadata"]["revision"] == first["metadata"]["revision"]
        names += [item["metadata"]["name"] for item in page["items"]]
        goes_on = page["metadata"].get("continue")

    assert names == ["n0", "n1", "n2", "n3", "n4"]


async def test_a_page_of_a_compacted_revision_is_gone(api: Api) -> None:
    client = api.client("admin")
    for number in range(3):
        await client.put(f"/api/v1/networks/n{number}", network(f"n{number}"))
    page = (await client.get("/api/v1/networks", params={"limit": "1"})).json()
    await client.put("/api/v1/networks/n4", network("n4"))
    await api.store.compact(Revision(4))

    with pytest.raises(RevisionCompacted):
        await client.get("/api/v1/networks", params={"continue": page["metadata"]["continue"]})


async def test_a_page_of_another_store_is_gone(api: Api, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    async with running_api(folder) as other:
        client = other.client("admin")
        for number in range(2):
            await client.put(f"/api/v1/networks/n{number}", network(f"n{number}"))
        page = (await client.get("/api/v1/networks", params={"limit": "1"})).json()

    with pytest.raises(Gone) as caught:
        await api.client("admin").get(
            "/api/v1/networks", params={"continue": page["metadata"]["continue"]}
        )
    assert caught.value.code == "history_diverged"


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"},
        {"limit": "many"},
        {"limit": "100000"},
        {"continue": "nonsense"},
        {"continue": "bnVsbA"},
        {"labelSelector": "a b c"},
        {"labelSelector": "a in (b"},
        {"fieldSelector": "name"},
        {"labelSelector": "a" * 5000},
    ],
)
async def test_a_bad_list_parameter_is_refused(api: Api, params) -> None:
    with pytest.raises(Malformed):
        await api.client("admin").get("/api/v1/networks", params=params)


async def test_history_has_every_version_and_the_deletion(api: Api) -> None:
    client = api.client("admin")
    await client.put(PATH, network("web"))
    await client.put(PATH, network("web", "10.0.0.0/24"))
    await client.request("DELETE", PATH)

    items = (await client.get(f"{PATH}/history")).json()["items"]

    assert [(item["revision"], item["operation"]) for item in items] == [
        (3, "delete"),
        (2, "put"),
        (1, "put"),
    ]
    assert items[2]["object"]["spec"] == {}
    with pytest.raises(NotFound):
        await client.get("/api/v1/networks/never/history")


# Transactions


def put(document: dict, **more) -> dict:
    return {"operation": "put", "object": document, **more}


def delete(kind: str, name: str, **more) -> dict:
    document = {"apiVersion": "hanse/v1", "kind": kind, "metadata": {"name": name}}
    return {"operation": "delete", "object": document, **more}


async def test_a_transaction_takes_one_revision(api: Api) -> None:
    client = api.client("admin")
    await client.put(PATH, network("web"))
    service = {
        "apiVersion": "hanse/v1",
        "kind": "Service",
        "metadata": {"name": "postgres"},
        "spec": {"entries": [{"protocol": "tcp", "ports": [5432]}]},
    }

    answer = await client.post(
        "/api/v1/transactions",
        {"operations": [put(network("app")), put(service), delete("Network", "web")]},
    )

    result = answer.json()
    assert result["revision"] == 2
    assert [each["operation"] for each in result["results"]] == ["put", "put", "delete"]
    assert {each["object"]["metadata"]["revision"] for each in result["results"][:2]} == {2}
    with pytest.raises(NotFound):
        await client.get(PATH)


async def test_a_transaction_is_all_or_nothing(api: Api) -> None:
    client = api.client("admin")
    for operations, code in (
        ([put(network("a")), delete("Network", "missing")], "not_found"),
        ([put(network("a")), put(network("b"), ifMatch=7)], "revision_conflict"),
        ([put(network("a")), put(network("a"))], "duplicate"),
        ([put(network("a")), put(network("b") | {"spec": {"x": 1}})], "invalid"),
    ):
        with pytest.raises(HanseError) as caught:
            await client.post("/api/v1/transactions", {"operations": operations})
        assert caught.value.code == code
    assert (await api.store.position()).revision == 0


async def test_a_transaction_tells_all_that_is_wrong_in_every_document(api: Api) -> None:
    bad = network("web") | {"spec": {"subnet": 1, "vlan": "x"}}
    with pytest.raises(Invalid) as caught:
        await api.client("admin").post(
            "/api/v1/transactions", {"operations": [put(bad), put({}), put(network("A B"))]}
        )

    paths = [fault.path for fault in caught.value.fields]
    assert "operations[0].object.spec.subnet" in paths
    assert "operations[0].object.spec.vlan" in paths
    assert any(path.startswith("operations[1].object") for path in paths)
    assert "operations[2].object.metadata.name" in paths


async def test_the_same_request_sent_again_counts_once(api: Api) -> None:
    client = api.client("admin")
    headers = {"X-Request-Id": "once"}
    first = await client.request("PUT", PATH, body=network("web", "10.0.0.0/24"), headers=headers)
    await client.put(PATH, network("web", "10.0.1.0/24"))

    again = await client.request("PUT", PATH, body=network("web", "10.0.0.0/24"), headers=headers)

    assert again.headers["X-Replayed"] == "true"
    assert again.json() == first.json()
    assert (await client.get(PATH)).json()["spec"] == {"subnets": ["10.0.1.0/24"]}
    assert (await api.store.position()).revision == 2


async def test_one_request_id_for_different_requests_swallows_none(api: Api) -> None:
    headers = {"X-Request-Id": "correlated"}
    one, other = api.client("admin"), api.client("admin", subject="user:other")
    await one.request("PUT", PATH, body=network("web", "10.0.0.0/24"), headers=headers)
    await one.request("PUT", PATH, body=network("web", "10.0.1.0/24"), headers=headers)
    answer = await other.request("PUT", PATH, body=network("web", "10.0.0.0/24"), headers=headers)
    assert revision(answer) == 3


# The audit trail


async def test_every_write_leaves_a_record_with_its_request_and_diff(api: Api) -> None:
    client = api.client("admin", subject="user:kim")
    headers = {"X-Request-Id": "r-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    await client.request("PUT", PATH, body=network("web", "10.0.0.0/24"), headers=headers)
    await client.request("PATCH", PATH, body={"spec": {"vlan": 5}})
    await client.request("DELETE", PATH)

    records = [record for _, record in await api.store.audit_records()][::-1]

    assert [record.action for record in records] == ["create", "update", "delete"]
    assert [record.revision for record in records] == [1, 2, 3]
    assert {record.identity for record in records} == {"user:kim"}
    assert {record.key for record in records} == {WEB}
    assert records[0].request_id == "r-1"
    assert records[0].trace_id == "a" * 32
    assert records[0].source_address == "127.0.0.1"
    assert records[1].diff == {"spec.vlan": {"after": 5}}
    assert records[2].diff["spec"] == {"before": {"subnets": ["10.0.0.0/24"], "vlan": 5}}


async def test_a_write_that_fails_at_the_end_leaves_neither_object_nor_record(api: Api) -> None:
    async def fail(transaction: Transaction, written: list[Written]) -> None:
        assert await transaction.get(WEB) is not None
        raise Conflict("the component's own record could not be written")

    write = Write(WEB, _envelope(network("web")))
    with pytest.raises(Conflict):
        await api.services.objects.apply(_call(api), [write], Options(trusted=True, alongside=fail))

    assert (await api.store.position()).revision == 0
    # What stays is the record of the refusal, which says so.
    assert await audit_actions(api) == [("write", "conflict")]


async def test_a_record_of_the_component_is_written_with_the_object(api: Api) -> None:
    async def note(transaction: Transaction, written: list[Written]) -> None:
        await transaction.put_record("notes", "web", {"uid": written[0].stored.uid})

    write = Write(WEB, _envelope(network("web")))
    await api.services.objects.apply(_call(api), [write], Options(trusted=True, alongside=note))

    async with api.store.snapshot() as snapshot:
        stored, record = await snapshot.get(WEB), await snapshot.record("notes", "web")
    assert stored is not None
    assert record == {"uid": stored.uid}


async def test_every_call_is_recorded_allowed_or_refused(api: Api) -> None:
    viewer, admin = api.client("viewer"), api.client("admin")
    with pytest.raises(Forbidden):
        await viewer.put(PATH, network("web"))
    await admin.get("/api/v1/credentials")
    await admin.get("/api/v1/networks")

    assert await audit_actions(api) == [
        ("PUT /api/v1/networks/{name}", "forbidden"),
        ("list", "ok"),
        ("list", "ok"),
    ]
    entries = (await admin.get("/api/v1/audit")).json()["items"]
    assert entries[-1]["identity"] == "user:test"
    assert entries[-1]["authority"] is None
    assert entries[-1]["reason"].startswith(PATH)
    assert entries[0]["authority"] == "role global-admin"
    assert entries[0]["durationMs"] > 0


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


async def test_a_tenants_auditor_reads_only_its_own_records(api: Api) -> None:
    admin = api.client("admin")
    for name in ("acme", "rival"):
        await admin.put("/api/v1/networks/n", network("n", tenant=name), params={"tenant": name})

    entries = (await api.client("auditor", tenants=["acme"]).get("/api/v1/audit")).json()["items"]

    assert {entry["tenant"] for entry in entries} == {"acme"}


def _envelope(document: dict):
    from shared.model.documents import parse_value

    envelope, faults = parse_value(document)
    assert not faults
    return envelope


def _call(api: Api):
    from shared.auth.identity import Caller, CallerKind
    from shared.objects.call import Call

    caller = Caller(CallerKind.COMPONENT, "system:test", "test")
    return Call(caller, "request-1")
