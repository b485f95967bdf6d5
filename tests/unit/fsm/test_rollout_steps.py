"""What a rollout does next: by tables, and against a slow oracle over whole rollouts."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsm.rollouts.drafts import stepped
from fsm.rollouts.steps import (
    Finish,
    Reach,
    SiteNow,
    StopFor,
    Wait,
    Word,
    next_step,
    standings,
    wave_of,
)
from shared.model.rollout import Rollout
from shared.model.selectors import Selector

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CANARY, EUROPE = ({"matchLabels": {"wave": each}} for each in ("canary", "europe"))
WAVES = ("canary", "europe", "rest")
LONG_AGO = NOW - timedelta(hours=1)


def rollout(*reached: tuple[int, tuple[str, ...]], at: datetime = NOW, **more: object) -> Rollout:
    return Rollout.model_validate(
        {
            "target": "p",
            "order": [CANARY, EUROPE],
            "wave": max((wave for wave, _ in reached), default=-1),
            "reached": [{"wave": wave, "at": at, "sites": sites} for wave, sites in reached],
            **more,
        }
    )


def site(name: str, wave: str, word: Word = Word.PENDING, code: str | None = None) -> SiteNow:
    return SiteNow(name, {"wave": wave}, word, code)


DONE, FAILED, PENDING, PAUSED, ABSENT = (
    Word.DONE, Word.FAILED, Word.PENDING, Word.PAUSED, Word.ABSENT
)  # fmt: skip
A, B, C, D = (("a", "canary"), ("b", "canary"), ("c", "europe"), ("d", "rest"))


@pytest.mark.parametrize(
    ("spec", "sites", "step"),
    [
        pytest.param(rollout(), [site(*A), site(*C)], Reach(0, ("a",)), id="the first wave"),
        pytest.param(rollout(), [site(*C), site(*D)], Reach(1, ("c",)), id="an empty wave"),
        pytest.param(rollout(), [], Finish(), id="nobody is concerned"),
        pytest.param(
            rollout((0, ("a",))), [site(*A), site(*C)], Wait(("a",)), id="a site takes its time"
        ),
        pytest.param(
            rollout((0, ("a",))),
            [site(*A, DONE), site(*C), site(*D)],
            Reach(1, ("c",)),
            id="the wave is through",
        ),
        pytest.param(
            rollout((0, ("a",)), (1, ("c",))),
            [site(*A, DONE), site(*C, DONE), site(*D)],
            Reach(2, ("d",)),
            id="those that no selector means come last",
        ),
        pytest.param(
            rollout((0, ("a",)), (1, ("c",))),
            [site(*A, DONE), site(*C, DONE)],
            Finish(),
            id="all are through",
        ),
        pytest.param(
            rollout((0, ("a", "b"))),
            [site(*A, FAILED, "no_space"), site(*B), site(*C)],
            "stop",
            id="one failed and none may, whatever is pending",
        ),
        pytest.param(
            rollout((0, ("a", "b")), maxFailures=1),
            [site(*A, FAILED, "no_space"), site(*B), site(*C)],
            Wait(("b",)),
            id="one may fail, the other is waited for",
        ),
        pytest.param(
            rollout((0, ("a", "b")), maxFailures=1),
            [site(*A, FAILED, "no_space"), site(*B, DONE), site(*C)],
            Reach(1, ("c",)),
            id="one may fail",
        ),
        pytest.param(
            rollout((0, ("a",)), at=LONG_AGO),
            [site(*A, PENDING, "not_connected"), site(*C)],
            "stop",
            id="it took too long",
        ),
        pytest.param(
            rollout((0, ("a",)), at=LONG_AGO), [site(*A, DONE), site(*C)], Reach(1, ("c",)),
            id="it took long and is there",
        ),
        pytest.param(
            rollout((0, ("a",)), (1, ("c",))),
            [site(*A, DONE), site(*B), site(*C)],
            Reach(1, ("b",)),
            id="a site that came late to a wave that has been",
        ),
        pytest.param(
            rollout((0, ("a", "b"))),
            [site(*A, PAUSED), site(*B, DONE), site(*C)],
            Reach(1, ("c",)),
            id="a paused site isn't waited for",
        ),
        pytest.param(
            rollout((0, ("a", "b"))),
            [site(*A, PAUSED), site(*B, PAUSED), site(*C)],
            Wait(("a", "b")),
            id="unless all are paused: nobody has tried it",
        ),
        pytest.param(
            rollout((0, ("a", "b"))),
            [site(*A, PAUSED), site(*B, ABSENT), site(*C)],
            Wait(("a",)),
            id="one paused, one that isn't there",
        ),
        pytest.param(
            rollout((0, ("a",))), [site(*A, ABSENT), site(*C)], Reach(1, ("c",)),
            id="nobody is there to fail",
        ),
        pytest.param(rollout(paused=True), [site(*A)], Wait(), id="a person has halted it"),
        pytest.param(rollout(state="stopped"), [site(*A)], Wait(), id="it has stopped"),
    ],
)  # fmt: skip
def test_the_next_step(spec: Rollout, sites: list[SiteNow], step: object) -> None:
    found = next_step(spec, sites, now=NOW)
    if step == "stop":
        assert isinstance(found, StopFor)
        assert [each.site for each in found.failed] == ["a"]
        return
    assert found == step


def test_who_takes_too_long_without_a_reason_has_one_all_the_same() -> None:
    [found] = standings(rollout((0, ("a",)), at=LONG_AGO), [site(*A)], now=NOW)
    assert (found.word, found.code) == (Word.FAILED, "too_slow")


names = st.sampled_from([f"s{number}" for number in range(8)])
federations = st.dictionaries(names, st.sampled_from(WAVES), min_size=1)
endings = st.sampled_from([DONE, DONE, DONE, FAILED, ABSENT])


@given(federations, st.data(), st.integers(0, 3))
def test_whole_rollouts_keep_the_order_and_the_cap(
    federation: dict[str, str], data: st.DataObject, cap: int
) -> None:
    """Drive a rollout to its end, sites saying what they like when they like."""
    spec = rollout(maxFailures=cap)
    said: dict[str, Word] = {}
    for _ in range(100):
        reached = {each for step in spec.reached for each in step.sites}
        sites = [site(n, w, said.get(n, PENDING)) for n, w in sorted(federation.items())]
        step = next_step(spec, sites, now=NOW)
        # What must hold, said without the code's own words.
        open_sites = [n for n in reached if said.get(n, PENDING) is PENDING]
        failed = [n for n in reached if said.get(n) is FAILED]
        if isinstance(step, Reach):
            assert not set(step.sites) & reached
            assert not open_sites
            assert len(failed) <= cap
            rank = {n: WAVES.index(w) for n, w in federation.items()}
            assert {rank[n] for n in step.sites} == {step.wave}
            earlier = {n for n in federation if rank[n] < step.wave}
            assert earlier <= reached
            assert {n for n in federation if rank[n] == step.wave} == set(step.sites)
        elif isinstance(step, StopFor):
            assert {each.site for each in step.failed} == set(failed)
            assert len(failed) > cap
            return
        elif isinstance(step, Finish):
            assert reached == set(federation)
            assert not open_sites
            return
        else:
            assert set(step.sites) == set(open_sites)
            assert open_sites
            said[data.draw(st.sampled_from(sorted(open_sites)))] = data.draw(endings)
        spec = Rollout.model_validate(stepped(spec, step, now=NOW))
    raise AssertionError("it has no end")


@given(federations, st.integers(-1, 2), st.data())
def test_who_is_reached_stays_so_whatever_his_labels_become(
    federation: dict[str, str], wave: int, data: st.DataObject
) -> None:
    reached = data.draw(st.sets(st.sampled_from(sorted(federation))))
    spec = rollout((max(wave, 0), tuple(sorted(reached)))) if reached else rollout()
    sites = [site(n, data.draw(st.sampled_from(WAVES)), DONE) for n in sorted(federation)]
    step = next_step(spec, sites, now=NOW)
    if isinstance(step, Reach):
        assert not set(step.sites) & reached
    found = {each.site: each.word for each in standings(spec, sites, now=NOW)}
    assert {n for n, word in found.items() if word is not Word.WAITS} == reached


@given(st.sampled_from(WAVES))
def test_a_wave_is_that_of_the_first_selector_that_matches(wave: str) -> None:
    order = [Selector.model_validate(each) for each in (CANARY, EUROPE, {})]
    found: Sequence[int] = [wave_of(order[:2], {"wave": wave}), wave_of(order, {"wave": wave})]
    expected = WAVES.index(wave)
    assert found == [expected, expected]
