"""What is known of each node."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from sdsp.nodes.states import NodeStates
from shared.errors import StorageFull
from shared.ids import Key
from tests.fakes.store import MemoryStore
from tests.unit.sdsp.world import NOW, key, write

REPORT = {"generation": 3, "hash": "aa", "read_back": "aa", "outcome": "ack"}


class StatusStore(MemoryStore):
    """A store that keeps status, and whose disk can be full."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses: dict[Key, Mapping[str, Any] | None] = {}
        self.is_full = False
        self.writes = 0

    async def put_status(self, statuses: Mapping[Key, Mapping[str, Any] | None]) -> None:
        if self.is_full:
            raise StorageFull("full")
        self.writes += 1
        self.statuses |= statuses


@pytest.fixture
async def store() -> StatusStore:
    store = StatusStore()
    await write(store, {key("Node", "n1"): {}})
    return store


async def test_counters_are_kept_in_memory_only(store: StatusStore) -> None:
    states = NodeStates(store)
    states.report("n1", {**REPORT, "counters": {"rule": 7}}, at=NOW)
    await states.reconcile()
    assert states.get("n1").counters == {"rule": 7}
    status = store.statuses[key("Node", "n1")]
    assert status is not None
    assert "counters" not in status
    assert status["hash"] == "aa"


async def test_a_report_that_says_nothing_new_wakes_nobody_and_is_seldom_written(
    store: StatusStore,
) -> None:
    states = NodeStates(store)
    states.report("n1", REPORT, at=NOW)
    states.changed.clear()
    await states.reconcile()

    for second in range(1, 60):
        states.report(
            "n1", {**REPORT, "counters": {"rule": second}}, at=NOW + timedelta(seconds=second)
        )
        await states.reconcile()
    assert not states.changed.is_set()
    assert store.writes == 1
    assert states.get("n1").last_seen == (NOW + timedelta(seconds=59)).isoformat()

    states.report("n1", REPORT, at=NOW + timedelta(seconds=60))
    await states.reconcile()
    assert store.writes == 2

    states.report("n1", {**REPORT, "outcome": "nack"}, at=NOW + timedelta(seconds=61))
    assert states.changed.is_set()


async def test_what_could_not_be_written_is_written_later(store: StatusStore) -> None:
    states = NodeStates(store)
    states.report("n1", REPORT, at=NOW)
    store.is_full = True
    with pytest.raises(StorageFull):
        await states.reconcile()
    store.is_full = False
    assert (await states.reconcile()).changed == 1
    assert (await states.reconcile()).changed == 0


async def test_a_deleted_node_is_forgotten_once_its_stream_has_ended(store: StatusStore) -> None:
    states = NodeStates(store)
    with states.connection("n1", at=NOW):
        states.report("n1", REPORT, at=NOW)
        states.keep_only({})
        assert states.get("n1").hash == "aa"
    states.keep_only({})
    assert states.get("n1").hash is None
    assert (await states.reconcile()).changed == 0


async def test_a_node_is_connected_while_any_of_its_streams_is(store: StatusStore) -> None:
    states = NodeStates(store)
    with states.connection("n1", at=NOW):
        with states.connection("n1", at=NOW):
            pass
        assert states.get("n1").is_connected(NOW)
        assert not states.get("n1").is_connected(NOW + timedelta(minutes=2))
    assert not states.get("n1").is_connected(NOW)
