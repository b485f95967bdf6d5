"""Bring a database's schema up to date: by Alembic, under a lock, refusing what is newer.

SQLite changes its schema in the write transaction that is the lock, whole or not at all.
PostgreSQL holds an advisory lock and runs each statement by itself, as CockroachDB must, which
has no such lock: every statement may be run again, so that a killed upgrade goes on.
"""

import uuid
from pathlib import Path
from typing import Any, Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text
from sqlalchemy.engine import Connection

from shared.errors import Conflict, NotFound
from shared.failpoints import pause
from shared.store.digest import GENESIS
from shared.store.engine import Database, Dialect
from shared.store.faults import translated
from shared.store.tables import commits, counter

_ADVISORY_LOCK: Final = 0x68616E7365  # "hanse"


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


async def migrate(database: Database, *, create: bool, incarnation: uuid.UUID, at: int) -> None:
    """Upgrade the schema, and set up an empty database if `create`.

    Raises NotFound (`no_store`) if there is no store and `create` is false; Conflict
    (`schema_too_new`) if a newer Hanse has upgraded it; Unavailable.
    """
    engine = database.migrations()
    try:
        with translated("upgrade the store's schema"):
            async with engine.connect() as connection:
                if database.dialect is Dialect.POSTGRESQL:
                    await connection.execute(text(f"SELECT pg_advisory_lock({_ADVISORY_LOCK})"))
                await connection.run_sync(_upgrade, database.name, create)
                await connection.run_sync(_begin_life, str(incarnation), at)
                await pause("store.migrate.before")
                await connection.commit()
                await pause("store.migrate.after")
    finally:
        await engine.dispose()


async def make_tables(database: Database) -> None:
    """Upgrade the schema, or make it in an empty database; what store there is, is left alone.

    Raises Conflict (`schema_too_new`); Unavailable.
    """
    engine = database.migrations()
    try:
        with translated("make the store's tables"):
            async with engine.connect() as connection:
                if database.dialect is Dialect.POSTGRESQL:
                    await connection.execute(text(f"SELECT pg_advisory_lock({_ADVISORY_LOCK})"))
                await connection.run_sync(_upgrade, database.name, True)
                await connection.commit()
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, name: str, create: bool) -> None:
    script = scripts()
    known = {each.revision for each in script.walk_revisions()}
    present = set(MigrationContext.configure(connection).get_current_heads())
    head = script.get_current_head()
    if present - known:
        raise Conflict(
            f"the store {name} has schema {', '.join(sorted(present))}, which is newer than this "
            f"program's {head}: upgrade Hanse on this machine",
            code="schema_too_new",
        )
    if not present and not create:
        raise NotFound(f"there is no store in {name}; create it first", code="no_store")
    if present != {head}:
        _run(connection, script)


def _run(connection: Connection, script: ScriptDirectory) -> None:
    def steps(present: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs("head", present)  # noqa: SLF001 - as alembic.command does

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        # Not transactional for Alembic: what a transaction is, `migrate` has decided.
        environment.configure(connection=connection, transactional_ddl=False)
        environment.run_migrations()


def _begin_life(connection: Connection, incarnation: str, at: int) -> None:
    if connection.execute(select(counter.c.id)).first() is not None:
        return
    connection.execute(
        commits.delete()  # a creation killed between these two statements
    )
    connection.execute(commits.insert().values(revision=0, digest=GENESIS, size=0, at=at))
    connection.execute(
        counter.insert().values(
            id=1,
            incarnation=incarnation,
            revision=0,
            digest=GENESIS,
            oldest=0,
            status_sequence=0,
            audit_number=0,
        )
    )
