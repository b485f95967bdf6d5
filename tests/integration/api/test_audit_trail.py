"""What the audit trail says of writes and of calls."""

import pytest

from shared.auth.identity import Caller, CallerKind
from shared.errors import Conflict, Forbidden
from shared.model.documents import parse_value
from shared.objects.call import Call
from shared.objects.service import Options, Write, Written
from shared.store.contract import Transaction
from tests.integration.api.harness import PATH, WEB, Api, audit_actions, network


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


async def test_a_tenants_auditor_reads_only_its_own_records(api: Api) -> None:
    admin = api.client("admin")
    for name in ("acme", "rival"):
        await admin.put("/api/v1/networks/n", network("n", tenant=name), params={"tenant": name})

    entries = (await api.client("auditor", tenants=["acme"]).get("/api/v1/audit")).json()["items"]

    assert {entry["tenant"] for entry in entries} == {"acme"}


def _envelope(document: dict):
    envelope, faults = parse_value(document)
    assert not faults
    return envelope


def _call(api: Api):
    caller = Caller(CallerKind.COMPONENT, "system:test", "test")
    return Call(caller, "request-1")
