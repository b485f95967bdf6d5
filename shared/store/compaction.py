"""Drop the watch log before a revision.  History stays: it is kept for people."""

from sqlalchemy import bindparam, delete, update

from shared.errors import Invalid
from shared.failpoints import pause
from shared.ids import Revision
from shared.store import reading
from shared.store.engine import Database
from shared.store.tables import commits, counter


async def compact(database: Database, before: Revision) -> None:
    """Make `before` the oldest position that can be resumed or read; Invalid in the future."""
    async with database.write() as connection:
        row = await reading.counters(connection, database.counter_for_update)
        if before > row["revision"]:
            raise Invalid(
                f"revision {before} lies in the future: the store is at {row['revision']}",
                code="revision_in_future",
            )
        if before <= row["oldest"]:
            return
        await connection.execute(DROP, {"before": before})
        await connection.execute(RAISE, {"before": before})
        await pause("store.compact.before")
        await connection.commit()
        await pause("store.compact.after")


DROP = delete(commits).where(commits.c.revision < bindparam("before"))
RAISE = update(counter).where(counter.c.id == 1).values(oldest=bindparam("before"))
