"""What a backup promises, whatever database it is taken from and restored into."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shared.backup.archive import opened
from shared.backup.contents import Home
from shared.backup.create import BackupMaker, Made, Wish
from shared.backup.manifest import Manifest
from shared.backup.restore import EMBEDDED, Order, Restored, Restorer
from shared.clock import SystemClock
from shared.errors import Conflict, HanseError
from shared.ids import Key, Revision
from shared.store.contract import AuditRecord, Commit, Draft, Position, Store, Transaction
from shared.store.sql import open_store
from tests.contract.conftest import Opener
from tests.contract.store_objects import WEB, delete, put
from tests.fakes.clock import VirtualClock
from tests.servers import PostgresServer


@pytest.fixture
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def other_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a backup is restored to: SQLite in the folder, or another empty database."""
    if request.param == "sqlite":
        yield EMBEDDED
        return
    postgres = request.getfixturevalue("postgres")
    url = postgres.create_database()
    yield str(url)
    postgres.drop_database(url)


@pytest.fixture
async def server_store(postgres_url: str) -> AsyncIterator[Store]:
    """A store in a server's database, which commits apart from the folder."""
    opened_store = await open_store(postgres_url, clock=SystemClock(), create=True)
    yield opened_store
    await opened_store.close()


def home_at(data: Path, url: str = "") -> Home:
    return Home(server="sdsp", name="sfo", data=data, url=url, authorities={}, files={})


async def back_up(url: str, path: Path, executor: Executor) -> Made:
    maker = BackupMaker(home_at(path.parent, url), clock=VirtualClock(), executor=executor)
    return await maker.make(Wish(path=path))


async def restore(path: Path, data: Path, database: str, executor: Executor) -> Restored:
    restorer = Restorer(home_at(data), clock=VirtualClock(), executor=executor)
    return await restorer.restore(Order(archive=path, database=database))


def url_in(data: Path, database: str) -> str:
    return f"sqlite:///{data / 'sdsp.sqlite'}" if database == EMBEDDED else database


async def fill(store: Store) -> None:
    """Give a store something of everything, deletions and a shortened log among it."""
    for number in range(30):
        key = Key("Network", "common", "federation", f"net-{number}")
        await put(store, key, {"subnets": [f"10.0.{number}.0/24"], "π": "\\u0000 \n"})
    for number in range(0, 30, 3):
        await delete(store, Key("Network", "common", "federation", f"net-{number}"))
    await store.put_status({Key("Network", "common", "federation", "net-1"): {"state": "good"}})
    await store.compact(Revision(12))

    async def work(transaction: Transaction) -> None:
        for name in ("a", "b"):
            await transaction.put(
                Draft(Key("Service", "t", "site", name), {}, {"x": "y"}, {"note": "z"}, "local")
            )
        await transaction.put_record("space", "name", {"held": [1, None]})
        await transaction.audit(
            AuditRecord(
                at=SystemClock().now(),
                request_id="r-1",
                identity="user:grace",
                action="put",
                outcome="allowed",
                tenant="t",
                key=Key("Service", "t", "site", "a"),
                diff={"before": None, "after": "harbour"},
            )
        )

    await store.transact(work, request_id="request-1")


async def everything(store: Store) -> list[Any]:
    """Return all that a store can be asked, but for its incarnation and the restore's record."""
    async with store.snapshot() as snapshot:
        found: list[Any] = [await snapshot.list()]
        found.append(await snapshot.deleted(Revision(0)))
        found.append(await snapshot.records("space"))
        keys = {stored.key for stored in found[0]} | {change.key for change in found[1]}
    async with store.snapshot(Revision(13)) as snapshot:
        found.append(await snapshot.list())
    found += [await store.history(key) for key in sorted(keys)]
    found.append(await store.committed("request-1"))
    records = await store.audit_records()
    found.append([each for each in records if each[1].action != "store.restore"])
    found.append([number for number, _ in await store.audit_records(text="harbour")])
    position = await store.position()
    found.append((position.revision, position.digest))
    found.append(await commits_after(store, 12, position))
    return found


async def commits_after(store: Store, after: int, upto: Position) -> list[Commit]:
    found = []
    async for each in store.watch(Revision(after)):
        if isinstance(each, Commit):
            found.append(each)
        if each.revision >= upto.revision:
            break
    return found


async def test_a_restored_store_is_equal_in_all_but_its_incarnation(
    store: Store, store_url: str, other_url: str, tmp_path: Path, executor: Executor
) -> None:
    await fill(store)
    await back_up(store_url, tmp_path / "b.hanse", executor)
    restored = await restore(tmp_path / "b.hanse", tmp_path / "new", other_url, executor)

    again = await open_store(url_in(tmp_path / "new", other_url), clock=SystemClock())
    try:
        assert await everything(again) == await everything(store)
        position = await again.position()
        assert position == restored.position
        assert position.incarnation != (await store.position()).incarnation
        # And it goes on.
        assert (await put(again, WEB, {"subnets": []})).revision == position.revision + 1
    finally:
        await again.close()


async def test_a_restore_is_the_last_word_of_the_audit_trail(
    store: Store, store_url: str, other_url: str, tmp_path: Path, executor: Executor
) -> None:
    await fill(store)
    made = await back_up(store_url, tmp_path / "b.hanse", executor)
    await restore(tmp_path / "b.hanse", tmp_path / "new", other_url, executor)
    again = await open_store(url_in(tmp_path / "new", other_url), clock=SystemClock())
    try:
        ((number, record),) = await again.audit_records(limit=1)
        assert (record.action, record.diff["backup"]) == ("store.restore", made.manifest.id)
        assert number == made.manifest.store.audit_number + 1
        assert [n for n, _ in await again.audit_records(text=made.manifest.id)] == [number]
    finally:
        await again.close()


async def test_equal_stores_make_equal_parts_whatever_database_they_live_in(
    store: Store, store_url: str, other_url: str, tmp_path: Path, executor: Executor
) -> None:
    await fill(store)
    first = await back_up(store_url, tmp_path / "b.hanse", executor)
    await restore(tmp_path / "b.hanse", tmp_path / "new", other_url, executor)
    second = await back_up(url_in(tmp_path / "new", other_url), tmp_path / "c.hanse", executor)

    one, two = comparable(first.manifest), comparable(second.manifest)
    assert one == two
    assert len({part.id for part in first.manifest.parts}) >= 6


def comparable(manifest: Manifest) -> dict[str, str]:
    """Return the parts but the audit trail, to which the restore added a record and its chain."""
    own = (".audit.", ".chains.")
    return {
        part.id: part.sha256 for part in manifest.parts if not any(name in part.id for name in own)
    }


async def test_a_backup_is_of_one_revision_while_writers_go_on(
    store: Store, store_url: str, tmp_path: Path, executor: Executor
) -> None:
    await fill(store)
    written = itertools.count(1)
    made = []

    async def write() -> None:
        # Both objects of a pair in one transaction: half of one would show in a torn backup.
        while not made:
            number = next(written)

            async def work(transaction: Transaction, number: int = number) -> None:
                for side in ("left", "right"):
                    key = Key("Network", "common", "federation", side)
                    await transaction.put(Draft(key, {"number": number}))
                await transaction.put_record("space", "number", {"number": number})

            await store.transact(work)

    async def copy() -> None:
        for name in ("one", "two"):
            result = await back_up(store_url, tmp_path / f"{name}.hanse", executor)
        made.append(result)

    await asyncio.gather(write(), copy())
    await restore(tmp_path / "two.hanse", tmp_path / "new", EMBEDDED, executor)
    again = await open_store(url_in(tmp_path / "new", EMBEDDED), clock=SystemClock())
    try:
        async with again.snapshot() as snapshot:
            left = await snapshot.get(Key("Network", "common", "federation", "left"))
            right = await snapshot.get(Key("Network", "common", "federation", "right"))
            record = await snapshot.record("space", "number")
        assert left is not None
        assert right is not None
        assert left.spec == right.spec == record
        assert made[0].manifest.store.revision == left.revision
        assert next(written) > 3
    finally:
        await again.close()


@pytest.mark.postgres
async def test_a_store_is_never_restored_over_another(
    server_store: Store, postgres_url: str, tmp_path: Path, executor: Executor
) -> None:
    await fill(server_store)
    await back_up(postgres_url, tmp_path / "b.hanse", executor)
    before = await everything(server_store)
    with pytest.raises(Conflict) as caught:
        await restore(tmp_path / "b.hanse", tmp_path / "new", postgres_url, executor)
    assert caught.value.code == "store_exists"
    assert await everything(server_store) == before


@pytest.mark.postgres
async def test_a_restore_killed_between_database_and_folder_goes_on(
    server_store: Store,
    postgres_url: str,
    postgres: PostgresServer,
    tmp_path: Path,
    executor: Executor,
) -> None:
    await fill(server_store)
    await back_up(postgres_url, tmp_path / "b.hanse", executor)
    data, url = tmp_path / "new", postgres.create_database()
    first = await restore(tmp_path / "b.hanse", data, url, executor)
    # As the kill leaves it: the store loaded, the folder not yet decided for.
    stage = data / ".restoring"
    stage.mkdir()
    begun = f'["{first.manifest.id}", "{first.position.incarnation}"]'
    (stage / "begun").write_text(begun)
    second = await restore(tmp_path / "b.hanse", data, url, executor)
    assert second.position == first.position

    stage.mkdir()
    (stage / "begun").write_text(begun.replace(first.manifest.id, uuid.uuid4().hex))
    with pytest.raises(Conflict) as caught:
        await restore(tmp_path / "b.hanse", data, url, executor)
    assert caught.value.code == "store_exists"
    postgres.drop_database(url)


async def test_a_damaged_store_is_not_backed_up_as_a_good_one(
    open_again: Opener,
    store_url: str,
    tmp_path: Path,
    executor: Executor,
    request: pytest.FixtureRequest,
) -> None:
    store = await open_again()
    await fill(store)
    change = "UPDATE objects SET spec = '{}' WHERE name = 'net-1'"
    if store_url.startswith("sqlite"):
        import sqlite3

        with sqlite3.connect(store_url.removeprefix("sqlite:///")) as connection:
            connection.execute(change)
        connection.close()
    else:
        request.getfixturevalue("postgres").execute(store_url, change)
    with pytest.raises(HanseError) as caught:
        await back_up(store_url, tmp_path / "b.hanse", executor)
    assert caught.value.code == "store_damaged"
    assert not [each for each in tmp_path.iterdir() if "hanse" in each.name]


async def test_parts_are_bounded_and_read_in_any_order(
    store: Store,
    store_url: str,
    tmp_path: Path,
    executor: Executor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.backup.create.PART", 2000)
    await fill(store)
    made = await back_up(store_url, tmp_path / "b.hanse", executor)
    versions = [part for part in made.manifest.parts if part.id.startswith("store.versions.")]
    assert len(versions) > 5
    with opened(tmp_path / "b.hanse") as reader:
        contents = {part.id: reader.read(part) for part in reversed(made.manifest.parts)}
        assert all(len(content) < 4000 for content in contents.values())
    # The trial restore of every backup reads them backwards; this one forwards.
    await restore(tmp_path / "b.hanse", tmp_path / "new", EMBEDDED, executor)
