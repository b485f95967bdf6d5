"""A node's memory of how old its policy is."""

from pathlib import Path

import pytest

from dsn.enforce.freshness import Freshness, read_heard
from tests.fakes.clock import VirtualClock

POLICY = {"revision": 7, "at": "2026-11-24T12:00:00+00:00", "age": 4.5}


async def test_ages_are_counted_on_by_the_nodes_own_clock(tmp_path: Path) -> None:
    clock = VirtualClock()
    found = Freshness(tmp_path / "heard.json", clock=clock)
    found.note(3, "abc", POLICY)
    clock.advance(60)
    heard = read_heard(tmp_path / "heard.json")
    assert heard is not None
    assert heard == found.heard
    assert heard.policy_age(clock.now()) == pytest.approx(64.5)
    assert heard.silence(clock.now()) == pytest.approx(60)


async def test_the_file_is_written_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    clock = VirtualClock()
    path = tmp_path / "heard.json"
    found = Freshness(path, clock=clock)
    found.note(3, "abc", POLICY)
    clock.advance(1)
    found.note(4, "def", None)
    first = read_heard(path)
    assert first is not None
    assert first.generation == 3
    found.write()
    last = read_heard(path)
    assert last is not None
    assert (last.generation, last.age, last.policy_age(clock.now())) == (4, None, None)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"generation": 1}', b"\xff"])
def test_a_damaged_file_says_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "heard.json"
    path.write_bytes(content)
    assert read_heard(path) is None
    assert read_heard(tmp_path / "none") is None


def test_a_place_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    found = Freshness(tmp_path / "no such folder" / "heard.json", clock=VirtualClock())
    found.note(3, "abc", POLICY)
    assert found.heard is not None
