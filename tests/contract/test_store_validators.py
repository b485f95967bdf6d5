"""The validators themselves: each finds the fault that it is there for."""

from copy import deepcopy

import pytest

from tests.contract.store_validators import Part, faults_in, recording_of


def commit(revision: int, *names: str) -> dict[str, object]:
    return {"commit": revision, "digest": f"d{revision}", "changes": [{"key": n} for n in names]}


LOG = {n: commit(n, f"a{n}", f"b{n}") for n in range(1, 7)}
SOUND = [
    Part(0, [LOG[1], LOG[2], {"bookmark": 2, "digest": "d2"}, LOG[3]]),
    Part(3, [LOG[4], LOG[5], LOG[6], {"bookmark": 6, "digest": "d6"}]),
]


def test_a_sound_recording_has_no_faults() -> None:
    assert faults_in(SOUND, LOG) == []


def swapped(parts: list[Part]) -> None:
    events = parts[0].events
    events[0], events[1] = events[1], events[0]


def doubled(parts: list[Part]) -> None:
    parts[1].events.insert(1, LOG[4])


def torn(parts: list[Part]) -> None:
    parts[1].events[1] = commit(5, "a5")


def lost(parts: list[Part]) -> None:
    del parts[1].events[1]


def resumed_late(parts: list[Part]) -> None:
    del parts[1].events[0]


def marked_early(parts: list[Part]) -> None:
    parts[0].events.insert(1, {"bookmark": 2, "digest": "d2"})


def marked_wrongly(parts: list[Part]) -> None:
    parts[1].events[-1] = {"bookmark": 6, "digest": "other"}


@pytest.mark.parametrize(
    ("fault", "validator"),
    [
        (swapped, "ordered"),
        (doubled, "unique"),
        (torn, "atomic"),
        (lost, "reliable"),
        (resumed_late, "resumable"),
        (marked_early, "bookmarkable"),
        (marked_wrongly, "bookmarkable"),
    ],
)
def test_a_validator_finds_its_fault(fault, validator: str) -> None:
    parts = deepcopy(SOUND)
    fault(parts)
    assert validator in {each.split(":")[0] for each in faults_in(parts, LOG)}


def test_a_recording_is_read_from_what_a_worker_says() -> None:
    lines = [{"ready": True}, {"start": 3}, LOG[4], {"start": 4}, LOG[5], {"seconds": 1.0}]
    assert recording_of(lines) == [Part(3, [LOG[4]]), Part(4, [LOG[5]])]
