"""A store and a backup of the release before: upgraded, restored, and verified from there on.

On SQLite and on PostgreSQL; a backup of the one is restored into the other, too.
"""

import json
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from shared.audit.seals import Sealer
from shared.audit.walk import verify
from shared.store.contract import Store
from shared.store.dump import Dump, columns_of, newest_schema, open_dump
from shared.store.load import load_store
from shared.store.mapping import canonical
from shared.store.sql import open_store
from tests.fakes.clock import VirtualClock
from tests.fakes.trails import credentials_of, record, write
from tests.servers import PostgresServer

CLOCK = VirtualClock()
CREDENTIALS = credentials_of(CLOCK)

_OLDER = (
    "DROP TABLE pages",
    "DROP TABLE chains",
    "DROP TABLE seals",
    *(
        f"ALTER TABLE audit DROP COLUMN {name}"
        for name in ("authority", "credential", "duration", "chain", "position", "hash")
    ),
    "UPDATE alembic_version SET version_num = '0001'",
)


@pytest.fixture
def alter(request: pytest.FixtureRequest, store_url: str) -> Callable[[Sequence[str]], None]:
    """Runs statements in the database of the store, which is closed, behind its back."""

    def run(statements: Sequence[str]) -> None:
        if store_url.startswith("sqlite"):
            path = store_url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path)) as connection, connection:
                for statement in statements:
                    connection.execute(statement)
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            server.execute(store_url, "; ".join(statements))

    return run


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def other_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where there is no store yet: another place than `store_url`."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/other.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
async def upgraded(store_url: str, alter: Callable[[Sequence[str]], None]) -> AsyncIterator[Store]:
    """A store as the release before left it, opened by this one."""
    older = await open_store(store_url, clock=CLOCK, create=True)
    for number in range(5):
        await write(older, number)
    await older.close()
    alter(_OLDER)
    opened = await open_store(store_url, clock=CLOCK)
    yield opened
    await opened.close()


async def test_a_store_of_the_release_before_keeps_its_trail_and_goes_on(upgraded: Store) -> None:
    old = [each for _, each in await upgraded.audit_records(text="update")]
    assert len(old) == 5
    assert {each.authority for each in old} == {None}
    await write(upgraded, 6)
    await upgraded.audit([record(7), record(8)])
    await Sealer(upgraded, credentials=lambda: CREDENTIALS, clock=CLOCK).reconcile()
    report = await verify(upgraded.ledger, roots=CREDENTIALS.roots)
    assert report.findings == []
    assert (report.unchained, report.records, report.unsealed) == (5, 8, 0)


async def test_what_the_release_before_only_recorded_is_no_change(
    store_url: str, alter: Callable[[Sequence[str]], None]
) -> None:
    """It kept reads and refusals in rows of their own, as what was committed with its record."""
    older = await open_store(store_url, clock=CLOCK, create=True)
    said = [("update", "ok"), ("get", "ok"), ("update", "forbidden"), ("feed.changes", "applied")]
    for number in range(1, len(said) + 1):
        await write(older, number)
    await older.close()
    recorded = [
        f"UPDATE audit SET action = '{action}', outcome = '{outcome}' WHERE number = {number}"
        for number, (action, outcome) in enumerate(said, start=1)
    ]
    alter([*recorded, *_OLDER])
    upgraded = await open_store(store_url, clock=CLOCK)
    await write(upgraded, 5)
    found = await upgraded.audit_records(committed=True)
    assert [number for number, _ in found] == [5, 4, 1]
    assert len(await upgraded.audit_records()) == 5
    await upgraded.close()


async def test_an_older_schemas_dump_has_that_schemas_columns(store_url: str) -> None:
    assert set(columns_of("0001")) == set(columns_of(newest_schema())) - {
        "pages",
        "chains",
        "seals",
    }
    store = await open_store(store_url, clock=CLOCK, create=True)
    await write(store, 1)
    await store.close()
    async with open_dump(store_url) as dump:
        assert dump.schema == newest_schema()


async def test_a_backup_of_the_release_before_is_restored_as_it_is(
    store_url: str, other_url: str
) -> None:
    store = await open_store(store_url, clock=CLOCK, create=True)
    for number in range(5):
        await write(store, number)
    await store.close()
    known = columns_of("0001")
    async with open_dump(store_url) as dump:
        counters = dump.counters
        older = {
            table: [
                canonical({name: json.loads(line)[name] for name in names}) + b"\n"
                async for lines in dump.lines(table)
                for line in lines
            ]
            for table, names in known.items()
        }

    async def lines() -> AsyncIterator[tuple[str, list[bytes]]]:
        for table, rows in older.items():
            if rows:
                yield table, rows

    async def check(restored: Dump) -> None:
        found = {
            table: [row async for rows in restored.lines(table) for row in rows] for table in known
        }
        assert found == older

    await load_store(
        other_url,
        lines(),
        counters=counters,
        incarnation=uuid.uuid4(),
        check=check,
        record=record(99, action="store.restore"),
        schema="0001",
    )
    again = await open_store(other_url, clock=CLOCK)
    assert len(await again.audit_records(text="update")) == 5
    await write(again, 100)
    report = await verify(again.ledger)
    assert report.findings == []
    assert (report.unchained, report.records, report.chains) == (5, 7, 2)
    await again.close()
