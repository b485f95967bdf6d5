"""What every store promises of lists, snapshots of any revision, history and compaction."""

import pytest

from shared.errors import Invalid, RevisionCompacted
from shared.ids import Key, Revision
from shared.store.contract import Commit, Draft, Operation, Selection, Store, Transaction
from tests.contract.store_objects import DATABASE, SPEC, WEB, delete, get, names, put


async def test_lists_are_in_key_order_and_in_pages(store: Store) -> None:
    wanted = [
        Key(kind, tenant, scope, name)
        for kind in ("Network", "Service")
        for tenant in ("acme", "common")
        for scope in ("federation", "region/west")
        for name in ("B", "a", "a-1", "a.1", "z_")
    ]

    async def work(transaction: Transaction) -> None:
        for key in reversed(wanted):
            await transaction.put(Draft(key, {}, {"name": key.name}))

    await store.transact(work)
    async with store.snapshot() as snapshot:
        assert [stored.key for stored in await snapshot.list()] == sorted(wanted)
        pages: list[Key] = []
        while page := await snapshot.list(after=pages[-1] if pages else None, limit=7):
            pages += [stored.key for stored in page]
        assert pages == sorted(wanted)
        chosen = Selection(
            kinds=frozenset({"Network", "Other"}),
            tenants=frozenset({"acme"}),
            names=frozenset({"a", "B"}),
        )
        assert [(s.key.scope, s.key.name) for s in await snapshot.list(chosen)] == [
            ("federation", "B"),
            ("federation", "a"),
            ("region/west", "B"),
            ("region/west", "a"),
        ]
        labelled = Selection(
            scopes=frozenset({"federation"}), labels=lambda labels: labels["name"] > "a"
        )
        found = await snapshot.list(labelled, limit=3)
        assert [stored.key.name for stored in found] == ["a-1", "a.1", "z_"]


async def test_a_snapshot_stands_still_while_writers_go_on(store: Store) -> None:
    await put(store, WEB, {"n": 1})
    async with store.snapshot() as snapshot:
        await put(store, WEB, {"n": 2})
        await put(store, DATABASE, SPEC)
        assert snapshot.position.revision == 1
        stored = await snapshot.get(WEB)
        assert stored is not None
        assert stored.spec == {"n": 1}
        assert [each.key for each in await snapshot.list()] == [WEB]
    assert await names(store, Selection()) == ["database", "web"]


async def test_an_old_snapshot_shows_what_was_there_then(store: Store) -> None:
    await put(store, WEB, {"n": 1}, labels={"tier": "web"})
    await put(store, DATABASE, SPEC)
    await put(store, WEB, {"n": 2})
    await delete(store, DATABASE)
    await delete(store, WEB)
    await put(store, WEB, {"n": 3})
    specs = {}
    for revision in range(7):
        async with store.snapshot(Revision(revision)) as snapshot:
            assert snapshot.position.revision == revision
            specs[revision] = {s.key.name: s.spec for s in await snapshot.list()}
            for key in (WEB, DATABASE):
                stored = await snapshot.get(key)
                assert (stored.spec if stored else None) == specs[revision].get(key.name)
    assert specs == {
        0: {},
        1: {"web": {"n": 1}},
        2: {"web": {"n": 1}, "database": SPEC},
        3: {"web": {"n": 2}, "database": SPEC},
        4: {"web": {"n": 2}},
        5: {},
        6: {"web": {"n": 3}},
    }
    tiered = Selection(labels=lambda labels: "tier" in labels)
    assert await names(store, tiered, Revision(2)) == ["web"]
    assert await names(store, tiered, Revision(3)) == []
    with pytest.raises(Invalid, match="future"):
        await names(store, Selection(), Revision(7))


async def test_history_tells_each_version_and_what_was_before(store: Store) -> None:
    first = await put(store, WEB, {"n": 1})
    second = await put(store, WEB, {"n": 2})
    await delete(store, WEB)
    changes = await store.history(WEB)
    assert [(c.revision, c.operation, c.before, c.after) for c in changes] == [
        (3, Operation.DELETE, second, None),
        (2, Operation.PUT, first, second),
        (1, Operation.PUT, None, first),
    ]
    assert await store.history(WEB, before=Revision(3), limit=1) == [changes[1]]
    assert await store.history(DATABASE) == []


async def test_a_snapshot_knows_the_deletions_since_a_revision(store: Store) -> None:
    other = WEB._replace(name="other")
    for key in (WEB, DATABASE, other):
        await put(store, key, SPEC, labels={"name": key.name})
    await delete(store, WEB)
    await delete(store, DATABASE)
    await put(store, DATABASE, SPEC)
    await delete(store, other)
    async with store.snapshot() as snapshot:
        assert [c.key.name for c in await snapshot.deleted(Revision(0))] == ["web", "other"]
        assert [c.key.name for c in await snapshot.deleted(Revision(4))] == ["other"]
        chosen = Selection(labels=lambda labels: labels["name"] == "web")
        [gone] = await snapshot.deleted(Revision(0), chosen)
        assert gone.before is not None
        assert gone.before.spec == SPEC
    async with store.snapshot(Revision(5)) as snapshot:
        assert [c.key.name for c in await snapshot.deleted(Revision(0))] == ["web", "database"]
    await store.compact(Revision(7))
    async with store.snapshot() as snapshot:
        assert [c.key.name for c in await snapshot.deleted(Revision(0))] == ["web", "other"]


async def test_compaction_drops_the_log_and_keeps_history(store: Store) -> None:
    for n in range(5):
        await put(store, WEB, {"n": n})
    await store.compact(Revision(3))
    await store.compact(Revision(2))  # already done
    for at in (0, 1, 2):
        with pytest.raises(RevisionCompacted) as caught:
            await get(store, WEB, Revision(at))
        assert caught.value.oldest == 3
        with pytest.raises(RevisionCompacted):
            await anext(store.watch(Revision(at)))
    stored = await get(store, WEB, Revision(3))
    assert stored is not None
    assert stored.spec == {"n": 2}
    event = await anext(store.watch(Revision(3)))
    assert isinstance(event, Commit)
    assert event.revision == 4
    assert len(await store.history(WEB)) == 5
    with pytest.raises(Invalid, match="future"):
        await store.compact(Revision(6))


async def test_digests_tell_histories_apart(store: Store) -> None:
    digests = [(await store.position()).digest]
    for n in range(3):
        await put(store, WEB, {"n": n})
        digests.append((await store.position()).digest)
    assert len(set(digests)) == 4
    for revision, digest in enumerate(digests):
        async with store.snapshot(Revision(revision)) as snapshot:
            assert snapshot.position.digest == digest
