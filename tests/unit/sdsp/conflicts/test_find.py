"""What is found at a site comes into its store: soon, once, and by what is known when it is written."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from sdsp.compile.compiler import Compiler
from sdsp.compile.model import SiteModel
from sdsp.conflicts.deadlines import Deadlines
from sdsp.conflicts.find import CompareConflicts, FindConflicts, ReviewConflicts
from sdsp.nodes.publication import Publications
from sdsp.settings import ConflictSettings
from shared.ids import Incarnation, Key
from shared.store.contract import Draft, Stored
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore, MemoryTransaction
from tests.unit.sdsp.world import SITE, global_, key, policy, rule, to_network, write

A = key("Network", "A")
OWN = key("SecurityPolicy", "own")
SHADOWED = policy(rule("first"), rule("second", to=to_network("A")))
APART = policy(rule("first", to=to_network("A")))


class Racing(MemoryStore):
    """A store in which something happens before the next unit of work."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], Awaitable[Any]] | None = None

    async def transact(self, work: Any, **options: Any) -> Any:
        before, self.before = self.before, None
        if before is not None:
            await before()
        return await super().transact(work, **options)


class World:
    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.store = Racing()
        self.clock = VirtualClock()
        self.compiler = Compiler(
            self.store,
            Publications(Incarnation("i1")),
            model=SiteModel("s1"),
            now=self.clock.now,
            executor=executor,
            clock=self.clock,
        )
        self.finding = FindConflicts(
            self.store,
            enforced=lambda: self.compiler.enforced,
            reached=lambda: self.compiler.reached,
            executor=executor,
            clock=self.clock,
            deadlines=Deadlines(ConflictSettings()),
        )
        self.reviewing = ReviewConflicts(
            self.finding,
            newest=lambda: self.compiler.newest,
            running=dict,
            executor=executor,
        )
        self.comparing = CompareConflicts(self.finding)
        self.judged = 0
        self.finding.on_judged = self._count

    def _count(self) -> None:
        self.judged += 1

    async def change(self, objects: Mapping[Key, Mapping[str, Any]]) -> None:
        """Change the store and compile."""
        await write(self.store, objects)
        await self.compiler._load()
        await self.compiler.reconcile()

    async def settle(self) -> None:
        """Let all look, and write."""
        await self.reviewing.reconcile()
        await self.finding.reconcile()

    def conflicts(self, state: str = "open") -> list[Stored]:
        found = [each for each in self.store.objects.values() if each.key.kind == "Conflict"]
        return [each for each in found if each.spec.get("state", "open") == state]

    def types(self, state: str = "open") -> set[str]:
        return {each.spec["type"] for each in self.conflicts(state)}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with ThreadPoolExecutor(1) as executor:
        found = World(executor)
        await found.change({SITE: {}, A: {"subnets": ["10.0.0.0/24"]}, OWN: SHADOWED})
        yield found


async def test_what_follows_changes_does_not_wait_for_the_review(world: World) -> None:
    await world.finding.reconcile()
    assert world.types() == {"shadowed_rule"}
    assert world.finding.judged_revision is None, "not all have looked"
    await world.settle()
    assert world.finding.judged_revision == world.compiler.reached
    assert world.judged == 1


async def test_only_what_changed_is_written_and_a_pass_without_changes_writes_nothing(
    world: World,
) -> None:
    await world.settle()
    before = world.store.at
    assert (await world.finding.reconcile()).changed == 0
    assert (await world.comparing.reconcile()).changed == 0
    assert world.store.at == before
    more = {key("SecurityPolicy", "pass-by"): policy(rule("late", to=to_network("A")))}
    await world.change(more)
    audits = len(world.store.audits)
    assert (await world.finding.reconcile()).changed == 1
    assert [each.action for each in world.store.audits[audits:]] == ["conflict.opened"]


async def test_a_conflict_that_is_gone_is_closed_with_the_reason(world: World) -> None:
    await world.settle()
    await world.change({OWN: APART})
    await world.settle()
    (gone,) = world.conflicts("resolved")
    assert gone.spec["closed"]["why"] == "packets reach the rule, or it is gone"


async def test_what_an_earlier_process_left_is_closed_only_when_all_have_looked(
    world: World,
) -> None:
    left = key("Conflict", "overlapping-networks-A-1")
    target = {"kind": "Network", "name": "A", "tenant": "common"}
    await write(world.store, {left: {"type": "overlapping_networks", "target": target}})
    await world.finding.reconcile()
    assert world.types() == {"shadowed_rule", "overlapping_networks"}
    await world.settle()
    await world.comparing.reconcile()
    assert world.types() == {"shadowed_rule"}
    assert world.types("resolved") == {"overlapping_networks"}


async def test_many_are_written_a_few_at_a_time(world: World) -> None:
    networks = {key("Network", f"N{n}"): {"subnets": [f"10.1.{n}.0/24"]} for n in range(120)}
    unresolved = {
        key("SecurityPolicy", f"p{n}"): policy(rule(to=to_network(f"G{n}"))) for n in range(120)
    }
    declared: dict[Key, Any] = {global_("Network", f"G{n}"): {} for n in range(120)}
    await world.change({**networks, **declared, **unresolved})
    before = world.store.at.revision
    await world.settle()
    assert len(world.conflicts()) >= 120
    assert world.store.at.revision > before + 2
    largest = max(len(commit.changes) for commit in world.store.log if commit.revision > before)
    assert largest <= 50


async def test_regression_a_pass_that_began_earlier_writes_nothing_older(world: World) -> None:
    """Regression: comparing had read, another pass wrote what was new, and was written over."""
    await world.settle()
    (before,) = world.conflicts()

    async def forget(transaction: MemoryTransaction) -> None:
        # Somebody's hand: comparing has something to write.
        await transaction.put(Draft(before.key, {**before.spec, "urgency": "immediate"}))

    await world.store.transact(forget)

    async def overtaken() -> None:
        wider = policy(rule("first", action="allow"), rule("second", to=to_network("A")))
        await world.change({OWN: wider})
        await world.settle()

    world.store.before = overtaken
    await world.comparing.reconcile()
    (after,) = world.conflicts()
    assert after.spec["facts"]["decided"] == "otherwise"
    await world.finding.reconcile()
    await world.comparing.reconcile()
    assert world.conflicts() == [after]


async def test_a_decision_stands_until_something_newer_says_otherwise(world: World) -> None:
    await world.settle()
    (found,) = world.conflicts()
    decision = {
        "proposal": "keepLocal",
        "by": "user:admin",
        "at": world.clock.now().isoformat(),
        "reason": "x",
    }

    async def decide(transaction: MemoryTransaction) -> None:
        spec = {**found.spec, "state": "resolved", "decision": decision}
        await transaction.put(Draft(found.key, spec))

    await world.store.transact(decide)
    await world.comparing.reconcile()
    assert world.types("resolved") == {"shadowed_rule"}
    await world.change({key("Network", "other"): {"subnets": ["10.9.0.0/24"]}})
    await world.settle()
    await world.comparing.reconcile()
    assert world.types() == {"shadowed_rule"}


async def test_what_was_put_off_is_open_in_time_without_any_change(world: World) -> None:
    await world.settle()
    (found,) = world.conflicts()
    until = world.clock.now() + timedelta(hours=1)
    deferred = {"until": until.isoformat(), "by": "user:admin", "reason": "later"}

    async def put_off(transaction: MemoryTransaction) -> None:
        spec = {**found.spec, "state": "deferred", "deferred": deferred}
        await transaction.put(Draft(found.key, spec))

    await world.store.transact(put_off)
    await world.comparing.reconcile()
    assert world.types("deferred") == {"shadowed_rule"}
    world.clock.advance(3601)
    await world.comparing.reconcile()
    assert world.types() == {"shadowed_rule"}
