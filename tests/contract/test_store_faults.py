"""What a store does when its database fails, is away, is full, or isn't what it was."""

import asyncio
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.errors import Conflict, Gone, HanseError, Invalid, NotFound, StorageFull, Unavailable
from shared.ids import Key, Revision
from shared.store.contract import Bookmark, Commit, Draft, Store, Transaction
from shared.store.sql import open_store
from tests.contract.conftest import Opener
from tests.servers import PostgresServer, postgres_server, require

Execute = Callable[[str], None]

WEB = Key("Network", "common", "federation", "web")


def put(store: Store, spec: dict[str, object], key: Key = WEB) -> asyncio.Future[object]:
    async def work(transaction: Transaction) -> None:
        await transaction.put(Draft(key, spec))

    return asyncio.ensure_future(store.transact(work, request_id=str(spec)))


def says_no_sql(error: HanseError) -> bool:
    words = ("SELECT", "INSERT", "UPDATE", "counter", "sqlite", "psycopg", "sqlalche")
    return not any(word in error.message for word in words)


@pytest.mark.postgres
async def test_a_commit_put_off_by_the_database_is_run_again_whole(
    postgres: PostgresServer, postgres_url: str
) -> None:
    store = await open_store(postgres_url, clock=SystemClock(), create=True)
    # The server itself refuses the first COMMIT; a sequence outlives the transaction undone.
    postgres.execute(
        postgres_url,
        """
        CREATE SEQUENCE times;
        CREATE FUNCTION refuse_once() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('times') = 1 THEN
                RAISE EXCEPTION 'forced' USING ERRCODE = '40001';
            END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION refuse_once();
        """,
    )
    runs: list[int] = []

    async def work(transaction: Transaction) -> int:
        current = await transaction.get(WEB)
        runs.append(current.spec["n"] if current else 0)
        await transaction.put(Draft(WEB, {"n": 1}))
        return len(runs)

    other = put(store, {"other": True}, WEB._replace(name="other"))
    done = await store.transact(work)
    await other
    assert (done.result, runs) == (2, [0, 0])
    assert int(postgres.execute(postgres_url, "SELECT last_value FROM times")) > 1
    assert (await store.position()).revision == 2
    assert len(await store.history(WEB)) == 1
    await store.close()


@pytest.mark.postgres
async def test_a_commit_put_off_for_ever_is_given_up(
    postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.store.commit.ATTEMPTS", 3)
    store = await open_store(postgres_url, clock=SystemClock(), create=True)
    postgres.execute(
        postgres_url,
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'forced' USING ERRCODE = '40001'; END $$;
        CREATE TRIGGER refuse AFTER INSERT ON commits FOR EACH ROW EXECUTE FUNCTION refuse();
        """,
    )
    with pytest.raises(Unavailable) as caught:
        await put(store, {"n": 1})
    assert caught.value.code == "serialization_failure"
    assert (await store.position()).revision == 0
    await store.close()


@pytest.mark.postgres
async def test_a_commit_of_unknown_outcome_is_found_out_by_its_request_id(
    postgres: PostgresServer, postgres_url: str
) -> None:
    store = await open_store(postgres_url, clock=SystemClock(), create=True)
    # The server ends the connection in the midst of the first COMMIT.
    postgres.execute(
        postgres_url,
        """
        CREATE SEQUENCE times;
        CREATE FUNCTION leave_once() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('times') = 1 THEN
                PERFORM pg_terminate_backend(pg_backend_pid());
                PERFORM pg_sleep(1);
            END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER leave AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION leave_once();
        """,
    )
    with pytest.raises(Unavailable, match="send the same request id again") as caught:
        await put(store, {"n": 1})
    assert caught.value.code == "commit_unknown"
    assert await store.committed(str({"n": 1})) is None
    await put(store, {"n": 1})
    assert await store.committed(str({"n": 1})) == 1
    await store.close()


@pytest.mark.postgres
async def test_one_that_the_database_refuses_hurts_no_other_in_its_group(
    postgres: PostgresServer, postgres_url: str
) -> None:
    store = await open_store(postgres_url, clock=SystemClock(), create=True)
    postgres.execute(
        postgres_url, "ALTER TABLE objects ADD CONSTRAINT no_bad CHECK (name <> 'bad')"
    )
    keys = [WEB._replace(name=name) for name in ("a", "bad", "b")]
    outcomes = await asyncio.gather(
        *(put(store, {"n": key.name}, key) for key in keys), return_exceptions=True
    )
    assert [isinstance(outcome, HanseError) for outcome in outcomes] == [False, True, False]
    assert isinstance(outcomes[1], HanseError)
    assert says_no_sql(outcomes[1])
    async with store.snapshot() as snapshot:
        assert [stored.key.name for stored in await snapshot.list()] == ["a", "b"]
    await store.close()


@pytest.mark.postgres
async def test_a_store_outlives_its_databases_restart() -> None:
    with postgres_server() as server:
        url = server.create_database()
        store = await open_store(url, clock=SystemClock(), create=True)
        await put(store, {"n": 1})
        events = store.watch(Revision(1))
        assert isinstance(await anext(events), Bookmark)
        waiting = asyncio.ensure_future(anext(events))
        server.stop()
        for attempt in (put(store, {"n": 2}), store.position(), store.history(WEB)):
            with pytest.raises(Unavailable) as caught:
                await attempt
            assert says_no_sql(caught.value)
        assert not waiting.done()
        server.start()
        await _until_available(store)
        await put(store, {"n": 3})
        event = await waiting
        assert isinstance(event, Commit)
        assert event.revision == 2
        await events.aclose()
        await store.close()


async def _until_available(store: Store) -> None:
    for _ in range(10):  # each pooled connection may fail once
        try:
            await store.position()
            await put(store, {"n": 1})
        except Unavailable:
            continue
        return


@pytest.mark.postgres
async def test_a_database_that_is_not_there_is_named(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    postgres.drop_database(url)
    with pytest.raises(Unavailable, match="can't be reached"):
        await open_store(url, clock=SystemClock(), create=True)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    programs = require("mount", "umount", root=True)
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(
        [programs["mount"], "-t", "tmpfs", "-o", "size=1m", "hanse-test", folder], check=True
    )
    yield folder
    subprocess.run([programs["umount"], folder], check=True)


async def test_on_a_full_disk_reads_go_on_and_nothing_is_lost(tiny_disk: Path) -> None:
    store = await open_store(f"sqlite:///{tiny_disk}/s.db", clock=SystemClock(), create=True)

    async def fill() -> None:
        for n in range(1000):
            await put(store, {"n": n, "text": "x" * 10_000}, WEB._replace(name=f"n{n}"))

    with pytest.raises(StorageFull, match="disk of the database is full") as caught:
        await fill()
    assert caught.value.code == "storage_full"
    written = (await store.position()).revision
    assert 3 < written < 1000
    async with store.snapshot() as snapshot:
        assert len(await snapshot.list()) == written
    await store.close()


async def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "store.db"
    store = await open_store(f"sqlite:///{path}", clock=SystemClock(), create=True)
    await put(store, {})
    files = list(path.parent.iterdir())
    assert path in files
    assert len(files) == 3  # with -wal and -shm
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await store.close()


async def test_a_store_that_is_not_there_is_not_made_by_chance(store_url: str) -> None:
    with pytest.raises(NotFound) as caught:
        await open_store(store_url, clock=SystemClock())
    assert caught.value.code == "no_store"
    store = await open_store(store_url, clock=SystemClock(), create=True)
    position = await store.position()
    await store.close()
    store = await open_store(store_url, clock=SystemClock())
    assert await store.position() == position
    await store.close()


@pytest.mark.parametrize(
    "url", ["", "store.db", "mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "sqlite:"]
)
async def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        await open_store(url, clock=SystemClock(), create=True)
    assert caught.value.code == "invalid_store_url"


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable) as caught:
        await open_store(f"sqlite:///{path}", clock=SystemClock(), create=True)
    assert says_no_sql(caught.value)
    assert path.read_bytes().startswith(b"no database")


async def test_those_who_create_one_store_at_once_share_it(open_again: Opener) -> None:
    stores = await asyncio.gather(*(open_again() for _ in range(4)))
    positions = await asyncio.gather(*(store.position() for store in stores))
    assert len(set(positions)) == 1


@pytest.fixture
def execute(request: pytest.FixtureRequest, store_url: str) -> Callable[[str], None]:
    """Run SQL behind the store's back."""

    def on_sqlite(statement: str) -> None:
        path = store_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)

    def on_postgres(statement: str) -> None:
        request.getfixturevalue("postgres").execute(store_url, statement)

    return on_sqlite if store_url.startswith("sqlite") else on_postgres


async def test_a_newer_schema_is_refused(store: Store, store_url: str, execute: Execute) -> None:
    await put(store, {})
    execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Conflict, match=r"schema 9999.*upgrade Hanse") as caught:
        await open_store(store_url, clock=SystemClock())
    assert caught.value.code == "schema_too_new"


async def test_an_upgrade_killed_midway_goes_on(
    store: Store, store_url: str, execute: Execute
) -> None:
    await store.close()
    for statement in (
        "DROP TABLE counter",
        "DROP INDEX audit_by_tenant",
        "DELETE FROM alembic_version",
    ):
        execute(statement)
    again = await open_store(store_url, clock=SystemClock(), create=True)
    await put(again, {})
    assert (await again.position()).revision == 1
    await again.close()


async def test_a_database_replaced_beneath_ends_the_watches(
    store: Store, store_url: str, execute: Execute
) -> None:
    events = store.watch(Revision(0))
    await anext(events)
    waiting = asyncio.ensure_future(anext(events))
    execute("UPDATE counter SET incarnation = 'another'")
    with pytest.raises(Gone) as caught:
        await waiting
    assert caught.value.code == "history_diverged"


async def test_a_store_no_one_may_read_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(Unavailable, match="create the store"):
        await open_store(f"sqlite:///{path}/store.db", clock=SystemClock(), create=True)
    assert path.read_text() == ""
