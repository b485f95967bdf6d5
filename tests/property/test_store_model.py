"""Random histories of a store against a model of ten lines."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shared.clock import SystemClock
from shared.errors import HanseError, RevisionConflict
from shared.ids import Key, Revision
from shared.store.contract import Commit, Draft, Selection, Store, Stored, Transaction
from shared.store.digest import chain
from shared.store.sql import open_store
from tests.fixtures_postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]

NAMES = ("a", "b", "c")
VALUES = st.one_of(st.integers(0, 2), st.text(max_size=3), st.none(), st.booleans())
STEP = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(NAMES), st.dictionaries(st.just("x"), VALUES)),
    st.tuples(st.just("label"), st.sampled_from(NAMES), st.sampled_from(("red", "blue"))),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.none()),
)
UNIT = st.tuples(
    st.lists(STEP, min_size=1, max_size=4),
    # Which earlier state the writer believes in: 0 is the latest.
    st.integers(0, 3),
)
HISTORY = st.lists(st.lists(UNIT, min_size=1, max_size=4), min_size=1, max_size=8)

Objects = dict[str, tuple[Any, str]]


class Model:
    """What a store is: its states by revision.  An object is its spec and label."""

    def __init__(self) -> None:
        self.states: list[Objects] = [{}]

    def apply(self, steps: list[tuple[str, str, Any]], believed: Objects) -> bool:
        state = dict(self.states[-1])
        for operation, name, value in steps:
            if repr(self.states[-1].get(name)) != repr(believed.get(name)):
                return False
            if operation == "put":
                state[name] = (value, state.get(name, ({}, ""))[1])
            elif operation == "label":
                state[name] = (state.get(name, ({}, ""))[0], value)
            else:
                state.pop(name, None)
        if exact(state) != exact(self.states[-1]):
            self.states.append(state)
        return True


def exact(state: Objects) -> str:
    """Tell 1 from True, as JSON does and Python doesn't."""
    return repr(sorted(state.items()))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_a_store_does_what_its_model_does(url: str, runner: asyncio.Runner) -> None:
    store = runner.run(_open(url))
    numbers = iter(range(1_000_000))

    @settings(
        max_examples=40,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )
    @given(history=HISTORY)
    def holds(history: list[list[tuple[list[tuple[str, str, Any]], int]]]) -> None:
        # Each example is a tenant of its own in one store, from its position on.
        runner.run(_check(store, f"t{next(numbers)}", history))

    try:
        holds()
    finally:
        runner.run(store.close())


async def _open(url: str) -> Store:
    return await open_store(url, clock=SystemClock(), create=True)


async def _check(store: Store, tenant: str, history: Any) -> None:
    base = await store.position()
    model = Model()
    live = store.watch(base.revision)
    await anext(live)
    for group in history:
        await _run_group(store, tenant, model, group)
        assert (await store.position()).revision == base.revision + len(model.states) - 1
    for watch in (live, store.watch(base.revision)):
        await _check_watch(watch, model, base.revision, base.digest)
    await _check_snapshots(store, tenant, model, base.revision)
    await _check_histories(store, tenant, model, base.revision)


async def _run_group(store: Store, tenant: str, model: Model, group: Any) -> None:
    """Run units that wait at the same time; they are committed in the order of their coming."""
    plans = []
    for steps, age in group:
        believed = model.states[max(0, len(model.states) - 1 - age)]
        plans.append((steps, believed))
    outcomes = await asyncio.gather(
        *(store.transact(_work(tenant, *plan)) for plan in plans), return_exceptions=True
    )
    for plan, outcome in zip(plans, outcomes, strict=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, RevisionConflict):
            raise outcome
        assert model.apply(*plan) == (not isinstance(outcome, HanseError))


def _work(tenant: str, steps: list[tuple[str, str, Any]], believed: Objects) -> Any:
    async def work(transaction: Transaction) -> None:
        before: dict[str, Stored | None] = {}
        for operation, name, value in steps:
            key = _key(tenant, name)
            current = await transaction.get(key)
            if name not in before:
                before[name] = current
            if exact(_object(name, before[name])) != exact(
                {name: believed[name]} if name in believed else {}
            ):
                raise RevisionConflict("the writer believes in something else")
            expected = current.revision if current else Revision(0)
            spec, label = (current.spec, current.labels.get("l", "")) if current else ({}, "")
            if operation == "delete":
                if current:
                    await transaction.delete(key, expected=expected)
            elif operation == "put":
                await transaction.put(Draft(key, value, {"l": label}), expected=expected)
            else:
                await transaction.put(Draft(key, spec, {"l": value}), expected=expected)

    return work


def _key(tenant: str, name: str) -> Key:
    return Key("Network", tenant, "federation", name)


def _object(name: str, stored: Stored | None) -> Objects:
    return {name: (stored.spec, stored.labels["l"])} if stored else {}


async def _check_watch(events: Any, model: Model, base: int, digest: str) -> None:
    state: Objects = {}
    for number, wanted in enumerate(model.states[1:], 1):
        commit = await anext(events)
        assert isinstance(commit, Commit)
        assert commit.revision == base + number
        digest = chain(digest, commit.changes)
        assert commit.digest == digest
        for change in commit.changes:
            name = change.key.name
            assert _object(name, change.before) == ({name: state[name]} if name in state else {})
            state.pop(name, None)
            state |= _object(name, change.after)
        assert exact(state) == exact(wanted)
    await events.aclose()


async def _check_snapshots(store: Store, tenant: str, model: Model, base: int) -> None:
    for number, wanted in enumerate(model.states):
        async with store.snapshot(Revision(base + number)) as snapshot:
            found: Objects = {}
            for stored in await snapshot.list(Selection(tenants=frozenset({tenant}))):
                assert await snapshot.get(stored.key) == stored
                found |= _object(stored.key.name, stored)
            assert exact(found) == exact(wanted)


async def _check_histories(store: Store, tenant: str, model: Model, base: int) -> None:
    for name in NAMES:
        revision = len(model.states) - 1
        for change in await store.history(_key(tenant, name)):
            # Between two of its changes an object stays as it is.
            while base + revision > change.revision:
                assert model.states[revision].get(name) == model.states[revision - 1].get(name)
                revision -= 1
            after, before = model.states[revision], model.states[revision - 1]
            assert _object(name, change.after) == ({name: after[name]} if name in after else {})
            assert _object(name, change.before) == ({name: before[name]} if name in before else {})
            if change.after and change.before and change.after.uid == change.before.uid:
                grown = change.after.generation - change.before.generation
                assert grown == (repr(after[name][0]) != repr(before[name][0]))
            revision -= 1
