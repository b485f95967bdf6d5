"""Whatever single thing is changed beneath the audit trail, verifying it says so; and nothing else.

The trail is made by two processes on one SQLite file; each example changes one thing in a copy.
"""

import asyncio
import base64
import shutil
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.audit.seals import Sealer
from shared.audit.verify import Report
from shared.audit.walk import verify
from shared.pki.certificates import Certificate
from shared.store.sql import open_store
from tests.fakes.clock import VirtualClock
from tests.fakes.trails import credentials_of, lead

CLOCK = VirtualClock()
CREDENTIALS = credentials_of(CLOCK)
TABLES = {
    "audit": "number",
    "pages": "first",
    "seals": "sequence",
    "chains": "chain",
    "counter": "id",
}
# What the trail doesn't vouch for: the counter's other columns are the objects' affair.
COLUMNS = {"counter": ["audit_number"]}


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trail") / "store.sqlite"

    async def make() -> None:
        url = f"sqlite:///{path}"
        stores = [await open_store(url, clock=CLOCK, create=True) for _ in range(2)]
        sealers = [Sealer(each, credentials=lambda: CREDENTIALS, clock=CLOCK) for each in stores]
        await lead(stores, sealers, CLOCK, turns=14)
        for each in stores:
            await each.close()

    asyncio.run(make())
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    return path


def judged(path: Path, roots: Sequence[Certificate] | None = CREDENTIALS.roots) -> Report:
    async def judge() -> Report:
        store = await open_store(f"sqlite:///{path}", clock=CLOCK)
        try:
            return await verify(store.ledger, roots=roots)
        finally:
            await store.close()

    return asyncio.run(judge())


def test_a_trail_that_nobody_touched_is_sound(trail: Path) -> None:
    report = judged(trail)
    assert report.findings == []
    assert report.chains == 2
    assert report.seals == 4
    assert report.unsealed > 0
    assert report.last == report.records


@st.composite
def tampering(draw: st.DrawFn) -> tuple[str, str, int, object]:
    """Say what is done: an operation, a table, which row, and a value for what is drawn later."""
    table = draw(st.sampled_from(sorted(TABLES)))
    operation = draw(st.sampled_from(["delete", "change", "swap", "insert", "page"]))
    if table == "counter":
        operation = "change"
    if operation == "page":
        table = "pages"
    if operation in ("swap", "insert") and table == "chains":
        operation = "delete"
    return operation, table, draw(st.integers(0, 1000)), draw(st.integers(0, 1000))


@given(tampering())
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_single_tampering_is_found(
    trail: Path, tmp_path_factory: pytest.TempPathFactory, what: tuple[str, str, int, int]
) -> None:
    copy = tmp_path_factory.mktemp("copy") / "store.sqlite"
    shutil.copy(trail, copy)
    connection = sqlite3.connect(copy)
    connection.row_factory = sqlite3.Row
    connection.create_function("changed", 1, changed)
    statements = connection.total_changes
    tamper(connection, *what)
    connection.commit()
    assert connection.total_changes > statements, "nothing was changed"
    connection.close()

    assert not judged(copy).sound
    shutil.rmtree(copy.parent)


def tamper(
    connection: sqlite3.Connection, operation: str, table: str, which: int, how: int
) -> None:
    key = TABLES[table]
    rows = list(connection.execute(f"SELECT * FROM {table} ORDER BY {key}"))
    row = rows[which % len(rows)]
    if operation == "delete":
        connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (row[key],))
    elif operation == "change":
        columns = COLUMNS.get(table, list(row.keys()))
        column = columns[how % len(columns)]
        connection.execute(
            f"UPDATE {table} SET {column} = changed({column}) WHERE {key} = ?", (row[key],)
        )
    elif operation == "swap":
        other = rows[(which + 1 + how % (len(rows) - 1)) % len(rows)]
        for new, old in ((-1, row[key]), (row[key], other[key]), (other[key], -1)):
            connection.execute(f"UPDATE {table} SET {key} = ? WHERE {key} = ?", (new, old))
    elif operation == "insert":
        values = dict(row)
        values[key] = [0, rows[-1][key] + 1, rows[-1][key] + 100, -5][how % 4]
        if table == "audit" and how % 3 == 0:
            values |= {"chain": None, "position": None, "hash": None}
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [*values.values()])
    else:
        lines = zlib.decompress(base64.b64decode(row["body"])).split(b"\n")
        at = how % len(lines)
        match how % 4:
            case 0:
                lines[at] = lines[at].replace(b"user:kim", b"user:lee")
            case 1:
                del lines[at]
            case 2:
                lines.append(lines[at])
            case _:
                lines[at] = lines[at].replace(b'"get"', b'"got"')
        body = base64.b64encode(zlib.compress(b"\n".join(lines))).decode()
        connection.execute("UPDATE pages SET body = ? WHERE first = ?", (body, row["first"]))


def changed(value: str | int | None) -> str | int | None:
    """Return something else of the same kind."""
    match value:
        case None:
            return "a"
        case int():
            return value + 1000
        case str() if value:
            return value[:-1] + ("0" if value[-1] != "0" else "1")
    return "x"


@pytest.fixture
def connection(trail: Path, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    copy = tmp_path / "store.sqlite"
    shutil.copy(trail, copy)
    opened = sqlite3.connect(copy)
    opened.row_factory = sqlite3.Row
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("statement", "code", "place"),
    [
        pytest.param("UPDATE audit SET reason = 'x' WHERE number = 1", "changed", 1, id="changed"),
        pytest.param("DELETE FROM audit WHERE number = 1", "removed", 1, id="removed"),
        pytest.param(
            "INSERT INTO audit SELECT 0, at, request_id, identity, action, outcome, tenant, kind,"
            " object_tenant, scope, name, source_address, diff, reason, revision, trace_id,"
            " authority, credential, duration, NULL, NULL, NULL FROM audit WHERE number = 1",
            "inserted",
            0,
            id="inserted",
        ),
        pytest.param(
            "DELETE FROM audit WHERE number = (SELECT max(number) FROM audit)",
            "truncated",
            None,
            id="truncated",
        ),
        pytest.param("DELETE FROM seals WHERE sequence = 2", "seal_missing", 2, id="seal missing"),
        pytest.param(
            "DELETE FROM seals WHERE sequence = 4", "seal_missing", 4, id="last seal missing"
        ),
        pytest.param(
            "UPDATE seals SET signature = (SELECT signature FROM seals WHERE sequence = 1)"
            " WHERE sequence = 3",
            "seal_forged",
            3,
            id="seal forged",
        ),
    ],
)
def test_what_was_done_and_where_is_said(
    connection: sqlite3.Connection, tmp_path: Path, statement: str, code: str, place: int | None
) -> None:
    connection.execute(statement)
    connection.commit()
    first = judged(tmp_path / "store.sqlite").findings[0]
    assert first.code == code
    if place is not None:
        assert place in (first.number, first.sequence)


def test_a_seal_of_another_root_is_not_trusted(trail: Path) -> None:
    other = credentials_of(CLOCK).roots
    assert [each.code for each in judged(trail, other).findings] == ["seal_untrusted"]
