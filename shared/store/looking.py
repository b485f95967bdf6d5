"""A look at the store: where it stands, what has changed since, and how one object stands.

The shortest way there is in each database: of SQLite's, one hop to a thread.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import bindparam, select

from shared.ids import Incarnation, Key, Revision
from shared.store.contract import Stored
from shared.store.engine import Database
from shared.store.lane import read_one, read_together
from shared.store.mapping import stored_of
from shared.store.prepared import Prepared, Values
from shared.store.reading import COUNTER, FIND
from shared.store.recent import FORGOTTEN, Changed, Mark
from shared.store.tables import KEY, OBJECT, counter, status, versions

_WIDTH: Final = len(OBJECT)

_MARK: Final = Prepared(
    select(
        *(counter.c.incarnation, counter.c.revision, counter.c.digest),
        *(counter.c.status_sequence, counter.c.oldest),
    )
)
_WRITTEN: Final = Prepared(
    select(*(versions.c[name] for name in KEY))
    .where(versions.c.revision > bindparam("revision"))
    .limit(FORGOTTEN)
)
_OBSERVED: Final = Prepared(
    select(*(status.c[name] for name in KEY))
    .where(status.c.sequence > bindparam("status"))
    .limit(FORGOTTEN)
)


async def counters(database: Database) -> dict[str, Any]:
    """Return the counter's row, as reading.counters does."""
    rows = await _read(database, (COUNTER, {}))
    return dict(zip(counter.columns.keys(), rows[0][0], strict=True))


async def look(database: Database, since: Mark | None) -> Changed:
    """Return where the store stands, and the keys of what has changed since a mark."""
    rows = await _read(database, (_MARK, {}))
    now, _ = _mark(rows[0])
    if since is None or now == since or now.incarnation != since.incarnation:
        return now, None if since is None or now.incarnation != since.incarnation else ()
    rows = await _read(
        database,
        (_MARK, {}),
        (_WRITTEN, {"revision": since.revision}),
        (_OBSERVED, {"status": since.status}),
    )
    now, oldest = _mark(rows[0])
    keys = [Key(*row) for each in rows[1:] for row in each]
    # Of what lies before the log not every version need be there.
    told = oldest <= since.revision and all(len(each) < FORGOTTEN for each in rows[1:])
    return now, keys if told else None


async def find(database: Database, key: Key) -> tuple[Mark, Stored | None]:
    """Return an object as it is now, and where the store stands."""
    rows = await _read(database, (_MARK, {}), (FIND, dict(zip(KEY, key, strict=True))))
    now, _ = _mark(rows[0])
    found = rows[1]
    return now, stored_of(found[0], found[0][_WIDTH]) if found else None


async def _read(
    database: Database, *queries: tuple[Prepared, Values]
) -> list[Sequence[Sequence[Any]]]:
    """Return each query's rows, all of one state."""
    if database.lane is not None:
        steps = [each.with_rows(database.sql, [values]) for each, values in queries]
        if len(steps) == 1:
            return [await database.lane.run("read the store", read_one, steps[0])]
        return list(await database.lane.run("read the store", read_together, *steps))
    async with database.read() as connection:
        return [(await each.run(connection, values)).all() for each, values in queries]


def _mark(rows: Sequence[Sequence[Any]]) -> tuple[Mark, int]:
    incarnation, revision, digest, sequence, oldest = rows[0]
    return Mark(Incarnation(incarnation), Revision(revision), digest, sequence), oldest
