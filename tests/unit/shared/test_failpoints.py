"""Failpoints: what can be armed, and that each stands in the code once."""

import ast
import asyncio
import errno
import sys
from collections import Counter
from pathlib import Path

import pytest

from shared.errors import Invalid, Unavailable
from shared.failpoints import EXIT_STATUS, FAILPOINTS, arm_from, armed, failpoint, pause
from tests.fakes.processes import forked

ROOT = Path(__file__).parents[3]
PLACE = "settings.synced"


def placed() -> Counter[str]:
    """Return how often each name stands in a call of failpoint() or pause()."""
    names: Counter[str] = Counter()
    for package in ("shared", "fsm", "sdsp", "dsn"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                match node:
                    case ast.Call(ast.Name("failpoint" | "pause"), [ast.Constant(name)]):
                        names[name] += 1
    return names


def test_each_failpoint_stands_in_the_code_once() -> None:
    assert placed() == Counter(dict.fromkeys(FAILPOINTS, 1))


def test_nothing_happens_where_nothing_is_armed() -> None:
    failpoint(PLACE)


def test_an_exit_ends_the_process_without_another_word(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def work() -> None:
        try:
            with armed(f"{PLACE}=exit"):
                failpoint(PLACE)
        finally:
            mark.write_text("was undone")

    assert forked(work) == EXIT_STATUS
    assert not mark.exists(), "as after kill -9, nothing is cleaned up"


def test_a_raise_is_what_an_outage_looks_like() -> None:
    with armed(f"{PLACE}=raise"), pytest.raises(Unavailable, match=PLACE):
        failpoint(PLACE)
    with armed(f"{PLACE}=raise(ENOSPC)"), pytest.raises(OSError, match="No space") as caught:
        failpoint(PLACE)
    assert caught.value.errno == errno.ENOSPC


async def test_a_pause_leaves_the_event_loop_free() -> None:
    order = []
    with armed("store.commit.before=sleep(0.05)"):
        async with asyncio.TaskGroup() as group:
            group.create_task(pause("store.commit.before")).add_done_callback(
                lambda _: order.append("paused")
            )
            group.create_task(asyncio.sleep(0)).add_done_callback(lambda _: order.append("other"))
    assert order == ["other", "paused"]


def times(text: str, *, reached: int, name: str = PLACE) -> list[int]:
    """Return at which of so many times, counted from 1, something was raised."""
    raised = []
    with armed(text):
        for number in range(1, reached + 1):
            try:
                failpoint(name)
            except Unavailable:
                raised.append(number)
    return raised


def test_it_can_begin_late_and_end_early() -> None:
    assert times(f"{PLACE}=raise@3*2", reached=6) == [3, 4]


def test_the_first_entry_that_matches_counts() -> None:
    assert times("settings.*=raise*1,settings.synced=raise", reached=3) == [1]


def test_a_seed_repeats_what_probability_draws() -> None:
    drawn = times(f"{PLACE}=raise%0.3,seed=5", reached=100)
    assert drawn == times(f"{PLACE}=raise%0.3,seed=5", reached=100)
    assert drawn != times(f"{PLACE}=raise%0.3,seed=6", reached=100)
    assert 10 < len(drawn) < 60


def test_it_can_record_which_places_were_reached(tmp_path: Path) -> None:
    with armed(f"record={tmp_path / 'reached'}"):
        failpoint(PLACE)
        failpoint(PLACE)
        failpoint("settings.replaced")
    assert (tmp_path / "reached").read_text().split() == [PLACE, "settings.replaced"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("nosuch.place=exit", id="a name that is none"),
        pytest.param(f"{PLACE}=explode", id="an action that is none"),
        pytest.param(f"{PLACE}=sleep", id="a sleep without seconds"),
        pytest.param(f"{PLACE}=raise(ENOSUCH)", id="an errno that is none"),
        pytest.param(PLACE, id="no action"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="HANSE_FAILPOINTS"):
        arm_from({"HANSE_FAILPOINTS": text})


def test_an_environment_without_the_variable_arms_nothing() -> None:
    arm_from({"PATH": "/bin"})
    assert sys.modules["shared.failpoints"]._plan is None
