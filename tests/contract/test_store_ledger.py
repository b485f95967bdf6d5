"""The audit trail's proof: chains and seals over rows and pages, on every database."""

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.audit.export import exported, verify_lines
from shared.audit.reads import ReadTrail
from shared.audit.retention import Retain
from shared.audit.seals import Seal, Sealer
from shared.audit.verify import Signers
from shared.audit.walk import links_of, seals_of, verify
from shared.errors import Invalid, Unavailable
from shared.failpoints import armed
from shared.ids import Key
from shared.metrics.names import Metrics
from shared.store.chain import row_of
from shared.store.contract import AuditRecord, Store
from tests.contract.conftest import Opener
from tests.fakes.clock import VirtualClock
from tests.fakes.trails import credentials_of, lead, record, write

CLOCK = VirtualClock()
CREDENTIALS = credentials_of(CLOCK)
ROOTS = CREDENTIALS.roots


def sealer(store: Store, clock: VirtualClock) -> Sealer:
    return Sealer(store, credentials=lambda: CREDENTIALS, clock=clock)


async def numbers(store: Store) -> list[int]:
    async with store.ledger.view() as view:
        return [link.number async for links in links_of(view) for link in links]


async def test_rows_and_pages_come_back_as_one_trail(store: Store) -> None:
    await store.audit([record(1), record(2)])
    await write(store, 3)
    await store.audit([record(4), record(5), record(6)])
    await write(store, 7)

    found = await store.audit_records()
    assert [number for number, _ in found] == [7, 6, 5, 4, 3, 2, 1]
    assert [each.request_id for _, each in found][::-1] == [f"request-{n}" for n in range(1, 8)]
    assert found[1][1] == record(6)
    assert await numbers(store) == [1, 2, 3, 4, 5, 6, 7]
    paged: list[int] = []
    while page := await store.audit_records(before=paged[-1] if paged else None, limit=2):
        paged += [number for number, _ in page]
    assert paged == [7, 6, 5, 4, 3, 2, 1]


async def test_pages_are_found_by_tenant_object_and_every_field(store: Store) -> None:
    await store.audit([record(number) for number in range(40)])
    await write(store, 41)

    async def requests(**terms: object) -> list[str]:
        return [each.request_id for _, each in await store.audit_records(**terms)]  # type: ignore[arg-type]  # as the tests say

    acme = await requests(tenants=["acme"], limit=1000)
    assert set(acme) == {f"request-{n}" for n in (*range(1, 40, 2), 41)}
    key = Key("Network", "common", "federation", "web-12")
    assert await requests(key=key) == ["request-12"]
    assert await requests(key=key, tenants=["acme"]) == []
    assert await requests(text="web-12") == ["request-12"]
    assert await requests(text="12-web") == []
    assert await requests(text="request-7 all-viewers 4d1f kim") == ["request-7"]
    assert await requests(text="web-12", tenants=["acme"]) == []
    assert len(await requests(text="role viewer", tenants=["acme"], limit=5)) == 5
    assert await requests(text="kim-1 nobody") == []


async def test_what_was_committed_is_told_from_what_was_only_recorded(store: Store) -> None:
    """Whatever else is asked for, and wherever a page begins."""
    dice = random.Random(7)
    committed: dict[int, str] = {}
    for number in range(1, 41):
        if dice.random() < 0.4:
            action = dice.choice(["update", "renew session"])
            await write(store, number, action=action)
            committed[number] = action
        else:
            # What it says of itself doesn't matter.
            await store.audit([record(number, action=dice.choice(["get", "update"]))])

    async def found(**terms: Any) -> list[int]:
        numbers: list[int] = []
        while page := await store.audit_records(
            before=numbers[-1] if numbers else None, limit=3, **terms
        ):
            numbers += [number for number, _ in page]
        return numbers[::-1]

    assert await found(committed=True) == [*committed]
    changes = [number for number, action in committed.items() if action == "update"]
    acme = [number for number in changes if number % 2]
    assert changes
    assert acme
    assert len(changes) < len(committed)
    wanted = {"committed": True, "without": ["renew session"]}
    assert await found(**wanted) == changes
    assert await found(**wanted, tenants=["acme"]) == acme
    assert await found(**wanted, tenants=[]) == []
    some = changes[len(changes) // 2]
    assert await found(**wanted, text=f"request-{some}") == [some]
    key = Key("Network", ("common", "acme")[some % 2], "federation", f"web-{some}")
    assert await found(**wanted, key=key) == [some]
    # Left out of what was only recorded as well.
    rest = await found(without=["get", "renew session"])
    assert set(changes) < set(rest)
    assert {each.action for _, each in await store.audit_records(without=["get"])} == {
        "update",
        "renew session",
    }


async def test_more_than_a_page_is_kept_in_several(store: Store) -> None:
    await store.audit([record(number) for number in range(2500)])
    large = replace(record(0), reason="x" * 300_000)
    await store.audit([large] * 4)
    assert len(await numbers(store)) == 2504
    assert (await verify(store.ledger)).sound


async def test_several_processes_restarts_and_kills_leave_a_sound_trail(
    open_again: Opener,
) -> None:
    clock = VirtualClock()
    stores = [await open_again(clock=clock) for _ in range(3)]
    await lead(stores, [sealer(each, clock) for each in stores], clock, turns=9)
    # One that is killed says nothing more; another begins.
    stores[0] = await open_again(clock=clock)
    await lead(stores, [sealer(each, clock) for each in stores], clock, turns=6)
    await asyncio.gather(*(write(stores[at % 3], 1000 + at) for at in range(30)))
    clock.advance(11)
    await asyncio.gather(*(sealer(each, clock).reconcile() for each in stores))

    report = await verify(stores[1].ledger, roots=ROOTS)
    assert report.findings == []
    assert report.chains == 4
    assert report.unsealed == 0
    assert report.seals == 6


async def test_one_process_seals_at_a_time_and_only_what_is_new(open_again: Opener) -> None:
    clock = VirtualClock()
    one, two = [await open_again(clock=clock) for _ in range(2)]
    await write(one, 1)
    await asyncio.gather(sealer(one, clock).reconcile(), sealer(two, clock).reconcile())
    await write(two, 2)
    assert (await sealer(two, clock).reconcile()).changed == 0, "not before its time"
    clock.advance(10)
    assert (await sealer(one, clock).reconcile()).changed == 1
    clock.advance(10)
    assert (await sealer(one, clock).reconcile()).changed == 0, "nothing new"
    async with one.ledger.view() as view:
        seals = [Seal.parse(each) async for each in seals_of(view)]
    assert [(each.sequence, each.whole, each.number) for each in seals] == [
        (1, True, 1),
        (2, False, 2),
    ]


async def test_a_commit_of_which_nobody_knows_begins_a_new_chain(store: Store) -> None:
    await write(store, 1)
    with (
        armed("store.commit.after=raise*1"),
        pytest.raises(Unavailable),
    ):
        await write(store, 2)
    await write(store, 3)
    report = await verify(store.ledger)
    assert report.findings == []
    assert report.chains == 2


async def test_what_retention_removes_is_gone_and_the_rest_verifies(open_again: Opener) -> None:
    clock = VirtualClock()
    stores = [await open_again(clock=clock) for _ in range(2)]
    seal, retain = (
        sealer(stores[0], clock),
        Retain(stores[0], retention=timedelta(days=10), clock=clock),
    )
    for day in range(30):
        await write(stores[day % 2], day)
        await stores[0].audit([record(day * 100 + at) for at in range(5)])
        await seal.reconcile()
        clock.advance(86400)
        if day % 5 == 4:
            await retain.reconcile()
            report = await verify(stores[1].ledger, roots=ROOTS)
            assert report.findings == []
    async with stores[0].ledger.view() as view:
        (text, *_) = await view.seals(0, 1)
        first = Seal.parse(text)
        heads = await view.heads()
    kept = await numbers(stores[0])
    assert min(kept) == first.number + 1 > 100
    assert len(heads) < 20, "chains that have ended are forgotten"
    removed = await stores[0].audit_records(text="retire", limit=1000)
    assert {each.action for _, each in removed} == {"audit.retire"}
    assert await stores[0].audit_records(text="request-100") == []
    newest = await stores[0].audit_records(text="request-2901")
    assert [each.request_id for _, each in newest] == ["request-2901"]


async def test_an_export_verifies_by_itself_and_goes_on_where_it_ended(store: Store) -> None:
    clock = VirtualClock()
    await lead([store], [sealer(store, clock)], clock, turns=7)
    lines = await export(store)
    await lead([store], [sealer(store, clock)], clock, turns=4)
    more = await export(store, after=int(lines[-2].split(b'"number":')[1].split(b",")[0]))

    def check(signers: object) -> object:
        return Signers(signers, ROOTS).check  # type: ignore[arg-type]  # as it was given

    assert verify_lines(lines, check=check).sound  # type: ignore[arg-type]  # a check it is
    with pytest.raises(Invalid, match="cut off"):
        verify_lines(lines[:-1], check=check)  # type: ignore[arg-type]
    changed = [line.replace(b"user:kim-1", b"user:lee-1") for line in lines]
    first = verify_lines(changed, check=check).findings[0]  # type: ignore[arg-type]
    assert first.code == "changed"
    assert len(more) > 10


async def export(
    store: Store, after: int = 0, tenants: frozenset[str] | None = None
) -> list[bytes]:
    data = b"".join([each async for each in exported(store.ledger, after=after, tenants=tenants)])
    return data.splitlines(keepends=True)


async def test_a_tenants_export_has_his_records_and_nothing_that_tells_of_others(
    store: Store,
) -> None:
    await store.audit([record(number) for number in range(10)])
    lines = await export(store, tenants=frozenset({"acme"}))
    assert len(lines) == 2 + 5
    text = b"".join(lines)
    assert b'"tenant":"common"' not in text
    for word in (b"hash", b"chain", b"position", b"signer", b"seal"):
        assert b'"%s"' % word not in text


async def test_reads_that_wait_for_the_store_are_written_once(store: Store) -> None:
    trail: ReadTrail[AuditRecord] = ReadTrail(
        store, records_of=list, clock=VirtualClock(), metrics=Metrics()
    )
    for number in range(3):
        trail.append(record(number))
    # Committed, and nobody knows: the same batch again must not count twice.
    with armed("store.commit.after=raise*1"), pytest.raises(Unavailable):
        await trail.flush()
    trail.append(record(3))
    await trail.flush()
    assert len(await store.audit_records()) == 4
    assert (await verify(store.ledger)).sound


async def test_a_page_can_be_read_of_any_line_that_is_written(store: Store) -> None:
    odd = random.Random(4)
    texts = ["".join(chr(odd.randrange(1, 0x3000)) for _ in range(30)) for _ in range(50)]
    records = [
        replace(record(n), reason=text, diff={text: {"after": text}})
        for n, text in enumerate(texts)
    ]
    await store.audit(records)
    assert [each for _, each in await store.audit_records(limit=1000)][::-1] == records
    async with store.ledger.view() as view:
        async for links in links_of(view):
            assert all(row_of(each.line or b"") for each in links)
    assert (await verify(store.ledger)).sound


def test_the_key_of_another_server_is_not_taken(tmp_path: Path) -> None:
    """Roots are what makes a signature count: see tests/property/test_audit_tampering.py."""
    assert credentials_of(CLOCK).roots != ROOTS
