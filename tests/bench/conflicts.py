"""After one changed rule in a site with 10,000: until the conflicts are current in its store.

A real SDSP that has joined a real FSM; a hundred nodes' configurations are compiled beside.  In
each change a rule becomes a copy of one that stands before it, or is mended again: one conflict
opens, or closes.  Timed from the change's commit, when people have their answer, to the commit that
has the conflict.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from itertools import islice
from statistics import median
from typing import Final

from sdsp.conflicts.find import CONFLICTS
from shared.cli.bench.workload import inventory, sources
from shared.collector import calm_collector
from shared.policy.loaded.source import Source
from shared.store.contract import Commit, Draft, Store, Transaction
from shared.store.sql import open_store
from tests.bench.harness import Goal, Measurement, Results, Run, benchmark
from tests.bench.receivers import percentile
from tests.bench.workload import Parameters, Workload, generate
from tests.integration.fsm.harness import prepare
from tests.integration.road.world import RoadSite, declare, joined

_GOAL: Final = Goal(100.0, "at most", of="figure")
_IN_A_TRANSACTION: Final = 500
_PAUSE: Final = 0.5


@benchmark("conflicts", title="Conflicts current after one changed rule, at a site")
def conflicts(run: Run) -> Results:
    count = run.pick(10_000, 500)
    # As a server program does.
    calm_collector()
    changes = run.pick(50, 4)
    times, before = asyncio.run(_measure(run, count, changes))
    extra = {"rules": count, "changes": changes, "conflictsBefore": before}
    return Results(
        [
            Measurement(
                f"{name} of {changes}: conflicts current after",
                1000 * value,
                "ms",
                goal=_GOAL,
                extra=extra,
            )
            for name, value in (("median", median(times)), ("p99", percentile(times, 0.99)))
        ],
        notes=[f"{before} conflicts stood there before the first change"],
    )


def tidy(count: int) -> Workload:
    """Return a workload whose networks share no address, as in a plan that somebody has made."""
    found = generate(Parameters(networks=count, rules=count))
    for number, name in enumerate(found["networks"]):
        found["networks"][name] = [
            f"{IPv4Address(first + 64 * number)}/26" for first in (10 << 24, 11 << 24)
        ]
    return found


async def _measure(run: Run, count: int, changes: int) -> tuple[list[float], int]:
    fsm = await prepare(run.folder)
    async with fsm.serving():
        await declare(fsm.admin())
        async with joined(run.folder, fsm) as site:
            workload = tidy(count)
            objects = [*sources(workload)[1:], *inventory(workload, random.Random(1))[0]]
            run.say(f"{len(objects):,} objects go into the site's store")
            await _fill(site, objects)
            policies = [each for each in objects if each.key.kind == "SecurityPolicy"]
            async with site.serving() as started:
                run.say("the site starts")
                before = await _settled(started.store)
                return [each async for each in _changes(site, policies, changes)], before


async def _fill(site: RoadSite, objects: list[Source]) -> None:
    store = await open_store(site.settings.database_url(site.data), clock=site.clock)
    left = iter(objects)
    while some := [*islice(left, _IN_A_TRANSACTION)]:
        await _put(store, *some)
    await store.close()


async def _put(store: Store, *objects: Source) -> None:
    async def work(transaction: Transaction) -> None:
        for each in objects:
            await transaction.put(Draft(each.key, each.data, each.labels, origin="local"))

    await store.transact(work)


async def _settled(store: Store) -> int:
    """Return how many conflicts there are once nothing more is found for a while."""
    found = -1
    while True:
        await asyncio.sleep(10)
        async with store.snapshot() as snapshot:
            now = len(await snapshot.list(CONFLICTS))
        if now == found and now:
            return now
        found = now


async def _changes(site: RoadSite, policies: list[Source], count: int) -> AsyncIterator[float]:
    dice = random.Random(1)
    assert site.running is not None
    store = site.running.store
    for _ in range(-(-count // 2)):
        policy = dice.choice([each for each in policies if len(each.data["rules"]) > 1])
        rules = list(policy.data["rules"])
        first, second = sorted(dice.sample(range(len(rules)), 2))
        copied = [*rules]
        copied[second] = {**rules[first], "name": rules[second]["name"]}
        for after in (copied, rules):
            async with _next_conflict(store) as found:
                await _put(store, Source(policy.key, {"rules": after}, {}))
                begun = time.perf_counter()
                yield await found - begun
            # People look before they go on; a review may go on behind it.
            await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def _next_conflict(store: Store) -> AsyncIterator["asyncio.Task[float]"]:
    """Hand out what ends with the next commit of a conflict, at its time."""
    after = (await store.position()).revision

    async def wait() -> float:
        async for event in store.watch(after, selection=CONFLICTS):
            if isinstance(event, Commit):
                return time.perf_counter()
        raise AssertionError("a watch goes on")

    task = asyncio.ensure_future(wait())
    try:
        yield task
    finally:
        task.cancel()
