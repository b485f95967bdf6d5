"""The audit trail: appended with what it tells of, never changed, and searched."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.errors import NotFound
from shared.ids import Key, Revision
from shared.store.contract import AuditRecord, Draft, Store, Transaction
from tests.contract.conftest import Opener

WEB = Key("Network", "common", "federation", "web")
RECORD = AuditRecord(
    at=datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC),
    request_id="01HZX",
    identity="user:admin",
    action="update",
    outcome="ok",
    tenant="common",
    key=WEB,
    source_address="10.1.2.3",
    diff={"spec.subnets": {"before": ["10.0.0.0/24"], "after": ["fd00::/64"]}},
    reason="Ticket 4711: Straße gesperrt",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
)


async def found(store: Store, **terms: Any) -> list[AuditRecord]:
    return [record for _, record in await store.audit_records(**terms)]


async def test_a_record_comes_back_as_it_was_written(store: Store, open_again: Opener) -> None:
    bare = AuditRecord(
        at=RECORD.at, request_id="r", identity="user:ada", action="login", outcome="denied"
    )
    await store.audit([RECORD, replace(RECORD, revision=Revision(7)), bare])
    other = await open_again()
    assert await found(other) == [bare, replace(RECORD, revision=Revision(7)), RECORD]
    assert (await other.position()).revision == 0


async def test_a_write_and_its_record_are_one(store: Store) -> None:
    async def works(transaction: Transaction) -> None:
        await transaction.audit(RECORD)
        await transaction.put(Draft(WEB, {}))

    async def fails(transaction: Transaction) -> None:
        await transaction.put(Draft(WEB, {"n": 1}))
        await transaction.audit(replace(RECORD, action="never"))
        raise NotFound("no")

    await store.transact(works)
    with pytest.raises(NotFound):
        await store.transact(fails)
    assert await found(store) == [replace(RECORD, revision=Revision(1))]


async def test_records_are_numbered_in_order_and_read_in_pages(store: Store) -> None:
    await asyncio.gather(
        *(store.audit([replace(RECORD, request_id=f"{i}")] * 3) for i in range(10))
    )
    numbers: list[int] = []
    while page := await store.audit_records(before=numbers[-1] if numbers else None, limit=7):
        numbers += [number for number, _ in page]
    assert numbers == list(range(30, 0, -1))


async def test_records_are_found_by_tenant_and_object(store: Store) -> None:
    acme = replace(RECORD, tenant="acme", key=WEB._replace(tenant="acme"))
    login = replace(RECORD, tenant=None, key=None)
    await store.audit([RECORD, acme, login])
    assert await found(store, tenants=["acme"]) == [acme]
    assert await found(store, tenants=("common", "acme")) == [acme, RECORD]
    assert await found(store, tenants=[]) == []
    assert await found(store, key=WEB) == [RECORD]
    assert await found(store, key=WEB, tenants=["acme"]) == []


@pytest.mark.parametrize(
    "text",
    [
        *("ticket", "4711", "TICKET 4711", "straße", "web", "user:admin", "10.1.2.3"),
        *(
            "10.0.0.0/24",
            "fd00::/64",
            "web & !web",
            "spec.subnets",
            "01hzx update",
            "  web   network ",
        ),
        *("4bf92f3577b34da6a3ce929d0e0e4736", "", "---"),
    ],
)
async def test_text_finds_a_record(store: Store, text: str) -> None:
    await store.audit([RECORD])
    assert await found(store, text=text) == [RECORD]


@pytest.mark.parametrize(
    "text",
    [
        *("tick", "strasse", "web OR database", "10.1.3.2", "3.2.1", "NOT web", "a* b*"),
        *("nothing:web", "web & !database", "') OR 1=1 --", "4712 ticket"),
    ],
)
async def test_text_that_is_not_there_finds_nothing(store: Store, text: str) -> None:
    await store.audit([RECORD])
    assert await found(store, text=text) == []


async def test_records_of_any_size_are_kept_and_found(store: Store) -> None:
    large = {f"field{i}": {"before": "x" * 500, "after": f"value{i}"} for i in range(3000)}
    record = replace(RECORD, diff=large, reason="y" * 5000)
    await store.audit([record])
    assert await found(store, text="field17 value17") == [record]
