"""What is changed beneath an audit trail is found on every database, in each of the plain ways.

All that could be changed, by chance: tests/property/test_audit_tampering.py, on SQLite.
"""

import pytest
from sqlalchemy import text

from shared.audit.seals import Sealer
from shared.audit.verify import Report
from shared.audit.walk import verify
from shared.store.engine import Database, parse_url
from shared.store.sql import open_store
from tests.fakes.clock import VirtualClock
from tests.fakes.trails import credentials_of, lead

CLOCK = VirtualClock()
CREDENTIALS = credentials_of(CLOCK)

_THIRD = "(SELECT number FROM audit ORDER BY number LIMIT 1 OFFSET 2)"
_LAST = "(SELECT max(number) FROM audit)"


async def trail(url: str) -> None:
    """Have two processes lead a trail, and seal it."""
    stores = [await open_store(url, clock=CLOCK, create=True) for _ in range(2)]
    sealers = [Sealer(each, credentials=lambda: CREDENTIALS, clock=CLOCK) for each in stores]
    await lead(stores, sealers, CLOCK, turns=8)
    for each in stores:
        await each.close()


async def judged(url: str) -> Report:
    store = await open_store(url, clock=CLOCK)
    try:
        return await verify(store.ledger, roots=CREDENTIALS.roots)
    finally:
        await store.close()


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(
            [f"UPDATE audit SET outcome = 'denied' WHERE number = {_THIRD}"], id="changed"
        ),
        pytest.param([f"DELETE FROM audit WHERE number = {_THIRD}"], id="removed"),
        pytest.param(
            [
                f"CREATE TABLE more AS SELECT * FROM audit WHERE number = {_THIRD}",
                f"UPDATE more SET number = {_LAST} + 1",
                "INSERT INTO audit SELECT * FROM more",
                "DROP TABLE more",
            ],
            id="inserted",
        ),
        pytest.param(
            [
                f"CREATE TABLE held AS SELECT {_THIRD} AS third, {_LAST} AS last",
                "UPDATE audit SET number = -1 WHERE number = (SELECT third FROM held)",
                f"UPDATE audit SET number = (SELECT third FROM held) WHERE number = {_LAST}",
                "UPDATE audit SET number = (SELECT last FROM held) WHERE number = -1",
                "DROP TABLE held",
            ],
            id="reordered",
        ),
        pytest.param([f"DELETE FROM audit WHERE number > {_LAST} - 3"], id="truncated"),
        pytest.param(
            ["DELETE FROM seals WHERE sequence = (SELECT max(sequence) FROM seals)"],
            id="last seal removed",
        ),
    ],
)
async def test_a_tampered_trail_is_found_on_every_database(
    store_url: str, statements: list[str]
) -> None:
    await trail(store_url)
    sound = await judged(store_url)
    assert (sound.findings, sound.chains) == ([], 2)

    database = Database(parse_url(store_url))
    async with database.write() as connection:
        counts = [(await connection.execute(text(each))).rowcount for each in statements]
        await connection.commit()
    await database.close()
    assert all(counts), "nothing was changed"
    assert not (await judged(store_url)).sound
