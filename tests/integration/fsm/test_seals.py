"""The FSM keeps the newest seal of each site's audit trail, and notices another history."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fsm.feed.seals import is_fork
from shared.audit.walk import verify
from shared.clock import SystemClock
from shared.errors import Forbidden, Invalid
from shared.store.contract import Store
from shared.store.sql import open_store
from shared.telemetry.journal import recent_events
from tests.integration.fsm.harness import FSM, Person, join_site

SEAL = "/feed/v1/seal"


def seal(sequence: int, digit: str = "a", incarnation: str = "life-1") -> dict[str, Any]:
    at = f"2026-03-01T00:00:{sequence:02}+00:00"
    return {"incarnation": incarnation, "sequence": sequence, "hash": digit * 64, "at": at}


@asynccontextmanager
async def beside(fsm: FSM) -> AsyncIterator[Store]:
    """Open the store beside the server that writes it."""
    store = await open_store(f"sqlite:///{fsm.data}/fsm.sqlite", clock=SystemClock())
    try:
        yield store
    finally:
        await store.close()


async def kept(admin: Person) -> dict[str, Any]:
    answer = await admin.client.get("/api/v1/audit/seals")
    return {each["site"]: each for each in answer.json()["items"]}


async def test_the_newest_seal_of_a_site_is_kept_and_a_fork_is_told(
    fsm: FSM, admin: Person
) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    for each in (seal(1), seal(2), seal(2), seal(5)):
        await site.client.post(SEAL, each)
    assert (await kept(admin))["sfo"]["last"]["sequence"] == 5
    assert (await kept(admin))["sfo"]["forks"] == []

    await site.client.post(SEAL, seal(5, "b"))
    found = (await kept(admin))["sfo"]
    assert found["last"]["hash"] == "b" * 64
    assert [each["hash"] for each in found["forks"]] == ["a" * 64]
    async with beside(fsm) as store, store.snapshot() as snapshot:
        assert [each.type for each in await recent_events(snapshot)] == ["audit.fork"]

    # Restored from a backup: another life, whose seals go on from an older one.
    await site.client.post(SEAL, seal(3, "c", "life-2"))
    assert len((await kept(admin))["sfo"]["forks"]) == 1


async def test_only_a_site_shows_seals_and_only_whole_ones(fsm: FSM, admin: Person) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    for wrong in ({**seal(1), "hash": "x"}, {**seal(1), "sequence": 0}, {**seal(1), "more": 1}):
        with pytest.raises(Invalid):
            await site.client.post(SEAL, wrong)
    with pytest.raises(Forbidden):
        await admin.client.post(SEAL, seal(1))
    assert await kept(admin) == {}


async def test_a_running_server_leaves_a_sound_trail(fsm: FSM, admin: Person) -> None:
    await admin.put("networks", "AppX", {})
    await join_site(fsm, await admin.token("sfo"))
    async with beside(fsm) as store:
        assert (await verify(store.ledger)).findings == []


@pytest.mark.parametrize(
    ("last", "new", "fork"),
    [
        (seal(2), seal(3), False),
        (seal(2), seal(2), False),
        (seal(2), seal(2, "b"), True),
        (seal(2), seal(1), True),
        (seal(2), seal(1, "b", "life-2"), False),
    ],
)
def test_one_trail_cannot_have_both(last: Any, new: Any, fork: bool) -> None:
    assert is_fork(last, new) is fork
