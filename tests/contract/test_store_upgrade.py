"""A store and a backup of the release before: upgraded, restored, and verified from there on."""

import json
import sqlite3
import uuid
from collections.abc import AsyncIterator
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
async def upgraded(tmp_path: Path) -> Store:
    """A store as the release before left it, opened by this one."""
    path = tmp_path / "store.sqlite"
    url = f"sqlite:///{path}"
    older = await open_store(url, clock=CLOCK, create=True)
    for number in range(5):
        await write(older, number)
    await older.close()
    with sqlite3.connect(path) as connection:
        for statement in _OLDER:
            connection.execute(statement)
    connection.close()
    return await open_store(url, clock=CLOCK)


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
    await upgraded.close()


async def test_what_the_release_before_only_recorded_is_no_change(tmp_path: Path) -> None:
    """It kept reads and refusals in rows of their own, as what was committed with its record."""
    path = tmp_path / "store.sqlite"
    url = f"sqlite:///{path}"
    older = await open_store(url, clock=CLOCK, create=True)
    said = [("update", "ok"), ("get", "ok"), ("update", "forbidden"), ("feed.changes", "applied")]
    for number in range(1, len(said) + 1):
        await write(older, number)
    await older.close()
    with sqlite3.connect(path) as connection:
        for number, each in enumerate(said, start=1):
            update = "UPDATE audit SET action = ?, outcome = ? WHERE number = ?"
            connection.execute(update, (*each, number))
        for statement in _OLDER:
            connection.execute(statement)
    connection.close()
    upgraded = await open_store(url, clock=CLOCK)
    await write(upgraded, 5)
    found = await upgraded.audit_records(committed=True)
    assert [number for number, _ in found] == [5, 4, 1]
    assert len(await upgraded.audit_records()) == 5
    await upgraded.close()


async def test_an_older_schemas_dump_has_that_schemas_columns(tmp_path: Path) -> None:
    assert set(columns_of("0001")) == set(columns_of(newest_schema())) - {
        "pages",
        "chains",
        "seals",
    }
    url = f"sqlite:///{tmp_path}/s.db"
    store = await open_store(url, clock=CLOCK, create=True)
    await write(store, 1)
    await store.close()
    async with open_dump(url) as dump:
        assert dump.schema == newest_schema()


async def test_a_backup_of_the_release_before_is_restored_as_it_is(tmp_path: Path) -> None:
    url, other = (f"sqlite:///{tmp_path}/{name}.db" for name in ("one", "two"))
    store = await open_store(url, clock=CLOCK, create=True)
    for number in range(5):
        await write(store, number)
    await store.close()
    known = columns_of("0001")
    async with open_dump(url) as dump:
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
        other,
        lines(),
        counters=counters,
        incarnation=uuid.uuid4(),
        check=check,
        record=record(99, action="store.restore"),
        schema="0001",
    )
    again = await open_store(other, clock=CLOCK)
    assert len(await again.audit_records(text="update")) == 5
    await write(again, 100)
    report = await verify(again.ledger)
    assert report.findings == []
    assert (report.unchained, report.records, report.chains) == (5, 7, 2)
    await again.close()
