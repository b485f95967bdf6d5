"""What every store promises of writing: objects, revisions, requests and records."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.errors import Invalid, NotFound, RevisionConflict
from shared.ids import Revision
from shared.store.contract import (
    ABSENT,
    AuditRecord,
    Committed,
    Draft,
    Operation,
    Selection,
    Store,
    Stored,
    Transaction,
)
from shared.store.digest import GENESIS
from tests.contract.conftest import Opener
from tests.contract.store_objects import DATABASE, SPEC, WEB, delete, get, names, put
from tests.fakes.clock import VirtualClock


async def test_a_new_store_is_empty_and_at_revision_zero(store: Store) -> None:
    position = await store.position()
    assert (position.revision, position.digest) == (0, GENESIS)
    async with store.snapshot() as snapshot:
        assert snapshot.position == position
        assert await snapshot.list() == []
        assert await snapshot.get(WEB) is None


async def test_an_object_comes_back_as_it_was_put(store: Store) -> None:
    spec = {
        "text": "π \\u0000 '\"\n",
        "deep": {"list": [1, 2.5, None, True, {"": []}]},
        "big": 2**53,
    }
    stored = await put(store, WEB, spec, labels={"tier": "web"})
    assert stored == await get(store, WEB)
    assert stored.spec == spec
    assert stored.labels == {"tier": "web"}
    assert (stored.revision, stored.generation) == (1, 1)
    assert stored.created_at == stored.updated_at
    assert stored.created_at.tzinfo is UTC


async def test_what_cannot_be_json_is_refused_and_hurts_nothing(store: Store) -> None:
    for value in (object(), {1, 2}, 2**70, "\ud800", datetime(2026, 1, 1, tzinfo=UTC)):
        with pytest.raises(Invalid, match="JSON"):
            await put(store, WEB, {"value": value})
    with pytest.raises(Invalid, match="NUL"):
        await put(store, WEB._replace(name="a\x00b"), {})
    assert (await store.position()).revision == 0


async def test_what_the_caller_keeps_is_not_what_is_stored(store: Store) -> None:
    spec: dict[str, Any] = {"ports": [80]}
    stored = await put(store, WEB, spec)
    spec["ports"].append(81)
    assert stored.spec == {"ports": [80]}


async def test_a_lost_race_changes_nothing(store: Store) -> None:
    first = await put(store, WEB, {"subnets": ["10.0.0.0/24"]})
    second = await put(store, WEB, {"subnets": ["10.0.1.0/24"]}, expected=first.revision)

    with pytest.raises(RevisionConflict, match="read it again"):
        await put(store, WEB, {"subnets": ["10.0.2.0/24"]}, expected=first.revision)
    with pytest.raises(RevisionConflict, match="already there"):
        await put(store, WEB, {"subnets": ["10.0.2.0/24"]}, expected=ABSENT)
    with pytest.raises(RevisionConflict):
        await delete(store, WEB, expected=first.revision)
    with pytest.raises(RevisionConflict, match="is gone"):
        await put(store, DATABASE, {}, expected=first.revision)

    assert await get(store, WEB) == second
    assert (await store.position()).revision == second.revision == first.revision + 1


async def test_of_many_who_create_at_once_one_wins(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(put(store, WEB, {"by": i}, expected=ABSENT) for i in range(8)), return_exceptions=True
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, Stored)]
    assert len(won) == 1
    assert all(isinstance(each, RevisionConflict) for each in outcomes if each is not won[0])
    assert await get(store, WEB) == won[0]


async def test_writing_what_is_there_takes_no_revision(store: Store) -> None:
    first = await put(store, WEB, {"a": 1, "b": 2}, labels={"x": "y"})
    assert await put(store, WEB, {"b": 2, "a": 1}, labels={"x": "y"}) == first
    assert (await store.position()).revision == 1
    assert (await put(store, WEB, {"a": True, "b": 2}, labels={"x": "y"})).revision == 2


async def test_labels_alone_leave_the_generation(store: Store) -> None:
    await put(store, WEB, SPEC)
    relabelled = await put(store, WEB, SPEC, labels={"tier": "web"})
    assert (relabelled.revision, relabelled.generation) == (2, 1)
    changed = await put(store, WEB, {}, labels={"tier": "web"})
    assert (changed.revision, changed.generation) == (3, 2)
    assert changed.uid == relabelled.uid


async def test_an_object_made_again_is_another(store: Store) -> None:
    first = await put(store, WEB, SPEC)
    assert await delete(store, WEB) == first
    with pytest.raises(NotFound):
        await delete(store, WEB)
    again = await put(store, WEB, SPEC, expected=ABSENT)
    assert again.uid != first.uid
    assert (again.revision, again.generation) == (3, 1)


async def test_a_transaction_takes_one_revision_or_none(store: Store) -> None:
    async def both(transaction: Transaction) -> None:
        await transaction.put(Draft(WEB, SPEC))
        await transaction.put(Draft(DATABASE, SPEC))

    done = await store.transact(both)
    assert done.position.revision == 1
    assert await names(store, Selection()) == ["database", "web"]

    class Mistake(Exception):
        pass

    async def half(transaction: Transaction) -> None:
        await transaction.delete(WEB)
        await transaction.put_record("feed", "position", {"revision": 1})
        raise Mistake

    with pytest.raises(Mistake):
        await store.transact(half)
    assert (await store.position()) == done.position
    assert await names(store, Selection()) == ["database", "web"]
    async with store.snapshot() as snapshot:
        assert await snapshot.record("feed", "position") is None


async def test_a_transaction_reads_its_own_writes(store: Store) -> None:
    first = await put(store, WEB, SPEC)

    async def work(transaction: Transaction) -> None:
        assert transaction.base == await_position
        stored = await transaction.put(Draft(DATABASE, SPEC, {"tier": "data"}))
        assert await transaction.get(DATABASE) == stored
        assert await transaction.list() == [stored, first]
        selection = Selection(labels=lambda labels: "tier" in labels)
        assert await transaction.list(selection) == [stored]
        await transaction.delete(WEB)
        assert await transaction.get(WEB) is None
        assert await transaction.list(Selection(kinds=frozenset({"Network"}))) == [stored]
        again = await transaction.put(Draft(WEB, {"new": True}))
        assert again.uid != first.uid
        await transaction.put_record("feed", "a", {"n": 1})
        await transaction.put_record("feed", "b", {"n": 2})
        await transaction.delete_record("feed", "a")
        assert await transaction.record("feed", "a") is None
        assert await transaction.records("feed") == {"b": {"n": 2}}

    await_position = await store.position()
    assert (await store.transact(work)).position.revision == 2
    [latest, _] = await store.history(WEB)
    assert latest.operation is Operation.PUT
    assert latest.before == first


async def test_a_transaction_that_ends_where_it_began_takes_no_revision(store: Store) -> None:
    await put(store, WEB, SPEC)

    async def work(transaction: Transaction) -> None:
        await transaction.put(Draft(WEB, {"other": 1}))
        await transaction.put(Draft(WEB, SPEC))
        await transaction.put(Draft(DATABASE, SPEC))
        await transaction.delete(DATABASE)

    assert (await store.transact(work)).position.revision == 1
    assert len(await store.history(WEB)) == 1


async def test_writers_at_once_each_have_their_revision(store: Store) -> None:
    keys = [WEB._replace(name=f"n{i}") for i in range(40)]
    stored = await asyncio.gather(*(put(store, key, SPEC) for key in keys))
    assert sorted(each.revision for each in stored) == list(range(1, 41))


async def test_a_failing_unit_hurts_no_other_in_its_group(store: Store) -> None:
    async def fails(transaction: Transaction) -> None:
        await transaction.put(Draft(DATABASE, SPEC))
        raise NotFound("not here")

    outcomes = await asyncio.gather(
        put(store, WEB, SPEC),
        store.transact(fails),
        put(store, WEB._replace(name="other"), SPEC),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], Stored)
    assert isinstance(outcomes[1], NotFound)
    assert isinstance(outcomes[2], Stored)
    assert await names(store, Selection()) == ["other", "web"]


async def test_a_cancelled_writer_stops_no_other(store: Store) -> None:
    keys = [WEB._replace(name=f"n{i}") for i in range(10)]
    tasks = [asyncio.ensure_future(put(store, key, SPEC)) for key in keys]
    await asyncio.sleep(0)
    tasks[0].cancel()  # it leads the group
    tasks[5].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) is Stored for outcome in outcomes].count(False) == 2
    assert isinstance(outcomes[0], asyncio.CancelledError)
    found = await names(store, Selection())
    assert set(found) >= {f"n{i}" for i in range(10)} - {"n0", "n5"}
    await put(store, DATABASE, SPEC)


async def test_a_request_id_is_committed_once(store: Store) -> None:
    async def work(transaction: Transaction) -> str:
        await transaction.put(Draft(WEB, SPEC))
        return "done"

    first = await store.transact(work, request_id="r1")
    again = await store.transact(work, request_id="r1")
    assert (first.result, first.replayed) == ("done", False)
    assert again == Committed(None, first.position, replayed=True)
    assert await store.committed("r1") == first.position.revision
    assert await store.committed("r2") is None

    both = await asyncio.gather(*(store.transact(work, request_id="r3") for _ in range(2)))
    assert sorted(each.replayed for each in both) == [False, True]


async def test_a_request_that_failed_may_be_sent_again(store: Store) -> None:
    async def fails(_transaction: Transaction) -> None:
        raise NotFound("not yet")

    with pytest.raises(NotFound):
        await store.transact(fails, request_id="r1")
    assert await store.committed("r1") is None


async def test_a_request_id_is_remembered_for_a_day(open_again: Opener) -> None:
    clock = VirtualClock(datetime(2026, 3, 1, tzinfo=UTC))
    store = await open_again(clock=clock)

    async def work(transaction: Transaction) -> None:
        await transaction.put_record("test", "n", {"at": clock.monotonic()})

    await store.transact(work, request_id="r1")
    clock.advance(timedelta(hours=23, minutes=59).total_seconds())
    assert (await store.transact(work, request_id="r1")).replayed
    clock.advance(120)
    assert await store.committed("r1") is None
    assert not (await store.transact(work, request_id="r1")).replayed


async def test_what_was_validated_must_not_have_changed(store: Store) -> None:
    await put(store, WEB, SPEC, labels={"tier": "web"})
    validated_at = (await store.position()).revision
    await put(store, DATABASE, SPEC)

    async def work(transaction: Transaction) -> None:
        await transaction.put(Draft(WEB._replace(name="new"), SPEC))

    web = Selection(kinds=frozenset({"Network"}), labels=lambda labels: "tier" in labels)
    await store.transact(work, validated_at=validated_at, depends_on=web)
    # A change that takes the label away is a change of what was selected.
    await put(store, WEB, SPEC)
    with pytest.raises(RevisionConflict) as caught:
        await store.transact(work, validated_at=validated_at, depends_on=web)
    assert caught.value.code == "validation_outdated"
    named = Selection(names=frozenset({"database"}))
    with pytest.raises(RevisionConflict):
        await store.transact(work, validated_at=validated_at, depends_on=named)
    with pytest.raises(Invalid, match="future"):
        await store.transact(work, validated_at=Revision(99), depends_on=web)


async def test_of_two_validated_together_the_second_is_outdated(store: Store) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.put(Draft(WEB, {"at": transaction.base.revision}))

    everything = Selection(kinds=frozenset({"Network"}))
    outcomes = await asyncio.gather(
        *(store.transact(work, validated_at=Revision(0), depends_on=everything) for _ in range(3)),
        return_exceptions=True,
    )
    assert [isinstance(outcome, RevisionConflict) for outcome in outcomes].count(True) == 2


async def test_records_are_kept_beside_the_objects(store: Store, open_again: Opener) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.put_record("feed", "position", {"revision": 7})
        await transaction.put_record("feed", "acks", {"sfo": [1, 2]})
        await transaction.put_record("other", "position", {})

    done = await store.transact(work)
    assert done.position.revision == 0
    again = await open_again()
    async with again.snapshot() as snapshot:
        assert await snapshot.records("feed") == {
            "acks": {"sfo": [1, 2]},
            "position": {"revision": 7},
        }
        assert await snapshot.record("feed", "position") == {"revision": 7}
        assert await snapshot.record("feed", "none") is None
        assert await snapshot.records("none") == {}

    async def remove(transaction: Transaction) -> None:
        await transaction.delete_record("feed", "position")
        await transaction.delete_record("feed", "none")

    await store.transact(remove)
    async with again.snapshot() as snapshot:
        assert await snapshot.records("feed") == {"acks": {"sfo": [1, 2]}}


async def test_a_store_keeps_its_incarnation_when_it_is_opened_again(
    store: Store, open_again: Opener
) -> None:
    await put(store, WEB, SPEC)
    assert await (await open_again()).position() == await store.position()


async def test_a_unit_that_only_reads_changes_nothing(store: Store) -> None:
    await put(store, WEB, SPEC)

    async def work(transaction: Transaction) -> Stored | None:
        return await transaction.get(WEB)

    done = await store.transact(work)
    assert done.result == await get(store, WEB)
    assert done.position == await store.position()


async def test_hostile_text_stays_data(store: Store) -> None:
    hostile = "x'; DROP TABLE objects; -- \" OR 1=1 %s :name ? \\"
    key = WEB._replace(name=hostile)
    await put(store, key, {"text": hostile}, labels={hostile: hostile})
    stored = await get(store, key)
    assert stored is not None
    assert stored.spec == {"text": hostile}
    record = AuditRecord(
        at=datetime(2026, 1, 1, tzinfo=UTC),
        request_id="r",
        identity=hostile,
        action="put",
        outcome="ok",
    )
    await store.audit([record, replace(record, identity="other")])
    assert [r.identity for _, r in await store.audit_records(text=hostile)] == [hostile]
    assert await names(store, Selection(names=frozenset({hostile, "web"}))) == [hostile]
