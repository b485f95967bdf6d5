"""Schema upgrade killed midway; N and N−1 together.

Expand, then contract; a newer schema is refused with a clear sentence.  Here: a process that makes
the schema is killed before each of its statements, on SQLite and on PostgreSQL, and a program that
is one version older works on beside a newer one.  Also: tests/contract/test_store_faults.py (an
upgrade half done, those who create at once, the sentence), tests/unit/shared/store.
"""

import asyncio
import itertools
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.errors import Conflict
from shared.failpoints import EXIT_STATUS
from shared.ids import Key
from shared.store.contract import Draft, Store, Transaction
from shared.store.migrate import scripts
from shared.store.sql import open_store
from tests.fakes.processes import forked
from tests.faults.migrating import open_until_killed

WEB = Key("Network", "common", "federation", "web")


async def write(store: Store, number: int) -> int:
    async def work(transaction: Transaction) -> None:
        await transaction.put(Draft(WEB, {"vlan": number}))

    return (await store.transact(work)).position.revision


async def works(url: str) -> None:
    """Open a store and write to it."""
    store = await open_store(url, clock=SystemClock(), create=True)
    before = (await store.position()).revision
    assert await write(store, before + 1) == before + 1
    await store.close()


def killed(url: str, number: int) -> bool:
    """Open a store in a process that is killed before its Nth statement; False if it has fewer."""

    def work() -> None:
        asyncio.run(open_until_killed(url, number))

    status = forked(work)
    assert status in (0, EXIT_STATUS)
    return status == EXIT_STATUS


def test_on_sqlite_a_store_is_made_wherever_its_making_was_killed(tmp_path: Path) -> None:
    for number in itertools.count(1):
        url = f"sqlite:///{tmp_path / str(number)}.sqlite"
        was_killed = killed(url, number)
        asyncio.run(works(url))
        if not was_killed:
            break
    assert number > 10


@pytest.mark.postgres
def test_on_postgresql_a_store_is_made_though_its_making_is_killed_over_and_over(
    postgres_url: str,
) -> None:
    """Each time one statement later: what the one before has made is there already."""
    numbers = itertools.count(1)
    while killed(postgres_url, number := next(numbers)):
        pass
    assert number > 10
    asyncio.run(works(postgres_url))


@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
async def test_a_program_one_version_older_works_on_beside_an_expanded_schema(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = (
        f"sqlite:///{tmp_path / 'store.sqlite'}"
        if database == "sqlite"
        else str(request.getfixturevalue("postgres_url"))
    )
    older = await open_store(url, clock=SystemClock(), create=True)
    await write(older, 1)
    await _expand(older)
    # It is running: it reads, writes and watches what it knows, and passes over the rest.
    assert await write(older, 2) == 2
    async with older.snapshot() as snapshot:
        found = await snapshot.get(WEB)
    assert found is not None
    assert found.spec == {"vlan": 2}
    await older.close()
    # Started anew it could not know what else has changed: it says so and touches nothing.
    with pytest.raises(Conflict, match=r"schema 9999.*newer than this program's.*upgrade Hanse"):
        await open_store(url, clock=SystemClock())


async def _expand(store: Store) -> None:
    """Do what a migration of the next version does first: only add."""
    database = store._database  # type: ignore[attr-defined]  # schemas are nobody else's business
    async with database.write() as connection:
        for statement in (
            "ALTER TABLE objects ADD COLUMN note TEXT",
            "ALTER TABLE audit ADD COLUMN note TEXT DEFAULT ''",
            "CREATE TABLE news (id INTEGER PRIMARY KEY)",
            "UPDATE alembic_version SET version_num = '9999'",
        ):
            await connection.exec_driver_sql(statement)
        await connection.commit()


def test_every_migration_may_be_run_again() -> None:
    """CockroachDB and PostgreSQL run each statement by itself: a killed upgrade repeats some."""
    for script in scripts().walk_revisions():
        source = Path(script.path).read_text("utf-8")
        for word in ("op.create_table(", "op.create_index(", "op.add_column("):
            for call in source.split(word)[1:]:
                assert "if_not_exists=True" in call[:400], f"{script.path}: {word}"
