"""Queries: objects now or as of a revision, their history, and the component's own records."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import FromClause

from shared.errors import HanseError, Invalid, RevisionCompacted
from shared.ids import Incarnation, Key, Revision
from shared.store.contract import (
    EVERYTHING,
    JSON,
    Change,
    Commit,
    Position,
    Selection,
    Stored,
)
from shared.store.mapping import change_of, load, stored_of
from shared.store.prepared import Prepared
from shared.store.tables import (
    KEY,
    OBJECT,
    commits,
    counter,
    objects,
    records,
    status,
    versions,
)

PAGE: Final = 500
"""Rows fetched at once: decoding them holds the event loop for a few milliseconds."""
LOG_PAGE: Final = 256
"""Commits fetched at once, or fewer if they are large."""
LOG_BYTES: Final = 4 << 20

_WIDTH: Final = len(OBJECT)


async def counters(connection: AsyncConnection, query: Prepared | None = None) -> dict[str, Any]:
    """Return the counter's row: incarnation, revision, digest, oldest, …"""
    row = (await (query or COUNTER).run(connection, {})).mappings().first()
    if row is None:
        raise HanseError("the store is damaged: it has no counter; restore it from a backup")
    return dict(row)


def position_in(row: Mapping[str, Any]) -> Position:
    return Position(Incarnation(row["incarnation"]), Revision(row["revision"]), row["digest"])


def check_resumable(at: int, row: Mapping[str, Any]) -> None:
    """Raise unless `at` is a revision whose log is still there."""
    if at > row["revision"]:
        raise Invalid(
            f"revision {at} lies in the future: the store is at {row['revision']}",
            code="revision_in_future",
        )
    if at < row["oldest"]:
        raise RevisionCompacted(
            f"revision {at} has been compacted; the oldest kept is {row['oldest']}: list again",
            oldest=row["oldest"],
        )


async def position_at(connection: AsyncConnection, at: Revision | None) -> Position:
    """Return the latest position, or an older one; RevisionCompacted, Invalid."""
    row = await counters(connection)
    latest = position_in(row)
    if at is None or at == latest.revision:
        return latest
    check_resumable(at, row)
    query = select(commits.c.digest).where(commits.c.revision == at)
    digest = (await connection.execute(query)).scalar_one()
    return Position(latest.incarnation, at, digest)


async def find(connection: AsyncConnection, key: Key, at: Revision | None = None) -> Stored | None:
    """Return the object now, or as of a revision."""
    if at is None:
        row = (await FIND.run(connection, dict(zip(KEY, key, strict=True)))).first()
        return stored_of(row, row[_WIDTH]) if row else None
    source = _source(at)
    query = _with_status(source).where(*(source.c[name] == key[i] for i, name in enumerate(KEY)))
    row = (await connection.execute(query)).first()
    return stored_of(row, row[_WIDTH]) if row else None


async def find_all(
    connection: AsyncConnection,
    selection: Selection = EVERYTHING,
    *,
    at: Revision | None = None,
    after: Key | None = None,
    limit: int | None = None,
) -> list[Stored]:
    """Return selected objects in key order."""
    found: list[Stored] = []
    async for stored in _pages(connection, selection, at=at, after=after, limit=limit):
        found.append(stored)
        if len(found) == limit:
            break
    return found


async def _pages(
    connection: AsyncConnection,
    selection: Selection,
    *,
    at: Revision | None,
    after: Key | None,
    limit: int | None,
) -> AsyncIterator[Stored]:
    source = _source(at)
    matches = label_test(selection)
    # Labels are matched here, on rows that the other terms let through.
    size = PAGE if limit is None or selection.labels else min(limit, PAGE)
    base = _with_status(source).where(*selected(source, selection)).limit(size)
    base = base.order_by(*(source.c[name] for name in KEY))
    while True:
        query = base if after is None else base.where(behind(source, after))
        rows = (await connection.execute(query)).all()
        for row in rows:
            stored = stored_of(row, row[_WIDTH])
            if matches(stored.labels):
                yield stored
        if len(rows) < size:
            return
        after = Key(*rows[-1][:4])


async def keys_behind(
    connection: AsyncConnection, selection: Selection, *, after: Key | None, limit: int
) -> list[Key]:
    """Return the keys of objects now, in order, whatever labels are selected."""
    query = select(*(objects.c[name] for name in KEY)).where(*selected(objects, selection))
    if after is not None:
        query = query.where(behind(objects, after))
    query = query.order_by(*(objects.c[name] for name in KEY)).limit(limit)
    return [Key(*row) for row in (await connection.execute(query)).all()]


def label_test(selection: Selection) -> Callable[[Mapping[str, str]], bool]:
    return selection.labels or (lambda _labels: True)


def matches_key(selection: Selection, key: Key) -> bool:
    """Say whether a key passes all of a selection but its labels."""
    terms = (selection.kinds, selection.tenants, selection.scopes, selection.names)
    return all(term is None or part in term for term, part in zip(terms, key, strict=True))


def matches(selection: Selection, change: Change) -> bool:
    """Say whether a change touches a selected object, as it was or as it is."""
    if not matches_key(selection, change.key):
        return False
    test = label_test(selection)
    sides = (change.before, change.after)
    return any(side is not None and test(side.labels) for side in sides)


def selected(source: FromClause, selection: Selection) -> Iterator[ColumnElement[bool]]:
    """Yield the terms of a selection that a database can decide."""
    terms = (selection.kinds, selection.tenants, selection.scopes, selection.names)
    for name, term in zip(KEY, terms, strict=True):
        if term is None:
            continue
        column = source.c[name]
        yield column == next(iter(term)) if len(term) == 1 else column.in_(sorted(term))


def behind(source: FromClause, key: Key) -> ColumnElement[bool]:
    return tuple_(*(source.c[name] for name in KEY)) > tuple_(*map(literal, key))


def _with_status(source: FromClause) -> Select[Any]:
    same = and_(*(status.c[name] == source.c[name] for name in KEY))
    columns = (source.c[name] for name in OBJECT)
    return select(*columns, status.c.status).select_from(source.outerjoin(status, same))


def _source(at: Revision | None) -> FromClause:
    """Return what to read objects from: the table, or a subquery of the state at a revision.

    What hasn't been written since then stands in `objects`; only what has is looked up among
    the versions.
    """
    if at is None:
        return objects
    touched = select(*(versions.c[name] for name in KEY)).where(versions.c.revision > at)
    changed = touched.distinct().subquery("changed")
    others = versions.alias("others")
    last = (
        select(func.max(others.c.revision))
        .where(others.c.revision <= at, *(others.c[name] == changed.c[name] for name in KEY))
        .scalar_subquery()
    )
    then = (
        select(*(versions.c[name] for name in OBJECT))
        .select_from(
            changed.join(versions, and_(*(versions.c[name] == changed.c[name] for name in KEY)))
        )
        .where(versions.c.revision == last, versions.c.operation == "put")
    )
    unchanged = select(*(objects.c[name] for name in OBJECT)).where(objects.c.revision <= at)
    return union_all(unchanged, then).subquery("state")


def _changes() -> Select[Any]:
    """Select changes with the version before each: operation, OBJECT, OBJECT."""
    before = versions.alias("before")
    same = (before.c[name] == versions.c[name] for name in KEY)
    joined = versions.outerjoin(before, and_(*same, before.c.revision == versions.c.previous))
    columns = (*(versions.c[name] for name in OBJECT), *(before.c[name] for name in OBJECT))
    return select(versions.c.operation, *columns).select_from(joined)


def _change(row: Sequence[Any]) -> Change:
    return change_of(row[0], row[1 : 1 + _WIDTH], row[1 + _WIDTH :])


async def history_of(
    connection: AsyncConnection, key: Key, *, before: Revision | None, limit: int
) -> list[Change]:
    query = _changes().where(*(versions.c[name] == key[i] for i, name in enumerate(KEY)))
    if before is not None:
        query = query.where(versions.c.revision < before)
    rows = await connection.execute(query.order_by(versions.c.revision.desc()).limit(limit))
    return [_change(row) for row in rows]


async def deletions_since(
    connection: AsyncConnection, since: Revision, upto: Revision, selection: Selection
) -> list[Change]:
    """Return, for each object gone at `upto` that was deleted after `since`, that deletion."""
    later = versions.alias("later")
    overtaken = (
        select(later.c.revision)
        .where(
            later.c.revision > versions.c.revision,
            later.c.revision <= upto,
            *(later.c[name] == versions.c[name] for name in KEY),
        )
        .exists()
    )
    query = _changes().where(
        versions.c.revision > since,
        versions.c.revision <= upto,
        versions.c.operation == "delete",
        ~overtaken,
        *selected(versions, selection),
    )
    rows = await connection.execute(query.order_by(versions.c.revision, versions.c.ordinal))
    found = (_change(row) for row in rows)
    return [change for change in found if matches(selection, change)]


async def commits_after(connection: AsyncConnection, after: int) -> list[Commit]:
    """Return the next commits of the log, whole and in order, a page of them."""
    query = select(commits.c.revision, commits.c.digest, commits.c.size)
    query = query.where(commits.c.revision > after).order_by(commits.c.revision).limit(LOG_PAGE)
    page: list[tuple[Revision, str]] = []
    size = 0
    for row in await connection.execute(query):
        size += row.size
        if page and size > LOG_BYTES:
            break
        page.append((row.revision, row.digest))
    if not page:
        return []
    within = and_(versions.c.revision > after, versions.c.revision <= page[-1][0])
    rows = await connection.execute(
        _changes().where(within).order_by(versions.c.revision, versions.c.ordinal)
    )
    changes: dict[Revision, list[Change]] = {revision: [] for revision, _ in page}
    for row in rows:
        change = _change(row)
        changes[change.revision].append(change)
    return [Commit(revision, digest, tuple(changes[revision])) for revision, digest in page]


async def outdated(
    connection: AsyncConnection, since: Revision, selection: Selection
) -> Key | None:
    """Return a selected object that changed after a revision, if one did."""
    before = versions.alias("before")
    same = (before.c[name] == versions.c[name] for name in KEY)
    joined = versions.outerjoin(before, and_(*same, before.c.revision == versions.c.previous))
    columns = [versions.c[name] for name in KEY]
    query = (
        select(*columns, versions.c.labels, before.c.labels.label("old_labels"))
        .select_from(joined)
        .where(versions.c.revision > since, *selected(versions, selection))
    )
    if selection.labels is None:
        query = query.limit(1)
    test = label_test(selection)
    for row in await connection.execute(query):
        sides = (row.labels, row.old_labels)
        if any(side is not None and test(load(side)) for side in sides):
            return Key(*row[:4])
    return None


async def record_of(connection: AsyncConnection, space: str, name: str) -> JSON | None:
    value = (await _RECORD.run(connection, {"space": space, "name": name})).scalar()
    return None if value is None else load(value)


async def records_of(connection: AsyncConnection, space: str) -> dict[str, JSON]:
    query = select(records.c.name, records.c.value).where(records.c.space == space)
    rows = await connection.execute(query.order_by(records.c.name))
    return {row.name: load(row.value) for row in rows}


async def statuses_of(connection: AsyncConnection, keys: Sequence[Key]) -> dict[Key, str | None]:
    """Return the status text, or None, of each key whose object exists."""
    found: dict[Key, str | None] = {}
    for start in range(0, len(keys), 100):
        part = keys[start : start + 100]
        wanted = or_(
            *(and_(*(objects.c[name] == key[i] for i, name in enumerate(KEY))) for key in part)
        )
        for row in await connection.execute(_with_status(objects).where(wanted)):
            found[Key(*row[:4])] = row[_WIDTH]
    return found


COUNTER: Final = Prepared(select(counter))
FIND: Final = Prepared(
    _with_status(objects).where(*(objects.c[name] == bindparam(name) for name in KEY))
)
_RECORD: Final = Prepared(
    select(records.c.value).where(
        *(records.c[name] == bindparam(name) for name in ("space", "name"))
    )
)
