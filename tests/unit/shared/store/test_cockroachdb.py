"""CockroachDB can't be run here: every statement and migration is compiled with its dialect."""

import io
import re
import uuid

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.sql import ClauseElement

from shared.ids import Key, Revision
from shared.store import compaction, flush, migrate, reading, search, watch
from shared.store.contract import Selection
from shared.store.engine import Database, Dialect, parse_url
from shared.store.tables import KEY, metadata, objects, versions

URL = "cockroachdb://hanse@127.0.0.1:26257/hanse"
WEB = Key("Network", "common", "federation", "web")
CHOSEN = Selection(
    kinds=frozenset({"Network", "Service"}), tenants=frozenset({"common"}), names=frozenset({"a"})
)


@pytest.fixture
def database() -> Database:
    return Database(parse_url(URL))


def statements() -> list[ClauseElement]:
    """Return each shape of statement that the store executes there."""
    recent = reading._source(Revision(7))
    audit = search.audit_query(
        Dialect.COCKROACHDB,
        search.Wanted(
            tenants=frozenset({"common"}),
            key=WEB,
            words="web-1 10.0.0.1",
            committed=True,
            without=frozenset({"renew session"}),
            before=9,
            limit=5,
        ),
    )
    return [
        *flush.Flush(Dialect.COCKROACHDB).statements,
        *(each.statement for each in (reading.COUNTER, reading.FIND, reading._RECORD)),
        *(compaction.DROP, compaction.RAISE, audit, watch._statuses_after(3)),
        reading._with_status(objects).where(*reading.selected(objects, CHOSEN)),
        reading._with_status(recent).where(reading.behind(recent, WEB)).limit(5),
        reading._with_status(recent).order_by(*(recent.c[name] for name in KEY)),
        reading._changes().where(*reading.selected(versions, CHOSEN)),
    ]


@pytest.mark.parametrize("statement", statements(), ids=lambda each: str(each)[:50])
def test_a_statement_compiles(database: Database, statement: ClauseElement) -> None:
    compiled = str(statement.compile(dialect=database._writer.dialect))
    assert "LOCK TABLE" not in compiled
    assert "COLLATE" not in compiled


def test_the_first_statement_takes_the_lock_and_reads_the_counter(database: Database) -> None:
    compiled = str(database.counter_for_update.statement.compile(dialect=database._writer.dialect))
    assert compiled.rstrip().endswith("FOR UPDATE")
    assert "FROM counter" in compiled


def test_both_engines_are_serializable(database: Database) -> None:
    for engine in (database._reader, database._writer):
        assert isinstance(engine, AsyncEngine)
        assert engine.dialect._on_connect_isolation_level == "SERIALIZABLE"


def test_migrations_compile_to_statements_that_may_be_run_again() -> None:
    script = migrate.scripts()
    sql = io.StringIO()

    def steps(present: object, _context: object) -> object:
        return script._upgrade_revs("head", present)

    with EnvironmentContext(Config(), script, fn=steps, as_sql=True) as environment:
        environment.configure(
            dialect_name="cockroachdb", output_buffer=sql, transactional_ddl=False
        )
        environment.run_migrations()
    ddl = [each.strip() for each in sql.getvalue().split(";") if "CREATE" in each]
    assert len(ddl) > len(metadata.tables)
    for each in ddl:
        if "alembic_version" not in each:
            assert re.search(r"CREATE (TABLE|INDEX) IF NOT EXISTS", each), each
    # No statement shares a transaction with another.
    assert "BEGIN" not in sql.getvalue()


async def test_the_schema_that_migrations_make_is_the_one_that_is_used(tmp_path) -> None:
    database = Database(parse_url(f"sqlite:///{tmp_path}/store.db"))
    database.prepare_file(create=True)
    await migrate.migrate(database, create=True, incarnation=uuid.UUID(int=1), at=0)
    engine = create_async_engine(database.url)
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), metadata)
        )
        await connection.execute(select(objects))
    await engine.dispose()
    await database.close()
    own = [each for each in differences if "audit_words" not in str(each)]
    assert own == []
