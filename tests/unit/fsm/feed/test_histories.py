"""Whole histories of a feed over a bad network, by a seed, on a clock that stands still."""

import random
from collections.abc import Callable, Sequence

import pytest

from shared.errors import StorageFull
from shared.feed.connect import Connector
from shared.feed.follow import Follower
from shared.feed.wire import Changes, FeedObject, Position, Put, Refusal, Remove, Snapshot
from shared.ids import FEDERATION, Key, Revision
from shared.tasks.group import Group
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore
from tests.fakes.transport import FAIR, FakeTransport, Weather
from tests.unit.fsm.feed import rolled
from tests.unit.fsm.feed.federation import (
    FeedServer,
    backoff,
    delete,
    key,
    network,
    policy,
    put,
    region,
    revocation,
    site,
    subscription,
)

STORM = Weather(delay=3.0, cut=0.05, doubled=0.15, swapped=0.1, lost_answer=0.1)


class RecordingCopy:
    """A site's copy that checks each step: nothing twice, nothing out of order."""

    def __init__(
        self,
        source: random.Random,
        *,
        failing: float = 0.0,
        expected: Callable[[Position], dict[Key, int]] | None = None,
    ) -> None:
        """`expected` returns what the site is to have at a position, if that is to be checked."""
        self._expected = expected
        self.objects: dict[Key, FeedObject] = {}
        self.held: set[Key] = set()
        self.at: Position | None = None
        self.applied: list[tuple[str, int]] = []
        self.listed = 0
        self._source = source
        self.failing = failing

    async def position(self) -> Position | None:
        return self.at

    async def replace(self, snapshot: Snapshot) -> Sequence[Refusal]:
        self._may_fail()
        new = {each.key: each for each in snapshot.objects}
        assert len(new) == len(snapshot.objects), "no object twice in a snapshot"
        buried = {each.key for each in snapshot.tombstones}
        assert not buried & set(new)
        self.held |= set(self.objects) - set(new) - buried
        self.held -= set(new) | buried
        self.objects, self.at = new, snapshot.position
        self.listed += 1
        self._check()
        return ()

    async def apply(self, changes: Changes) -> Sequence[Refusal]:
        self._may_fail()
        assert self.at is not None
        assert changes.after == self.at.revision
        assert changes.position.revision > self.at.revision
        for change in changes.changes:
            match change:
                case Put(new):
                    old = self.objects.get(new.key)
                    assert old is None or old.revision < new.revision, "each version once"
                    self.objects[new.key] = new
                    self.held.discard(new.key)
                case Remove(gone):
                    assert gone in self.objects, "only what is there is removed"
                    del self.objects[gone]
        self.at = changes.position
        self.applied.append((changes.position.incarnation, changes.position.revision))
        self._check()
        return ()

    async def advance(self, position: Position) -> None:
        self._may_fail()
        assert self.at is not None
        assert position.revision > self.at.revision
        self.at = position
        self._check()

    def _check(self) -> None:
        if self._expected is not None and self.at is not None:
            got = {key: each.revision for key, each in self.objects.items()}
            assert got == self._expected(self.at), f"at {self.at.revision}"

    def _may_fail(self) -> None:
        if self._source.random() < self.failing:
            raise StorageFull("the site's disk is full")


class History:
    """One federation, one site that follows it, and what befalls them."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.clock = VirtualClock()
        self.store = MemoryStore()
        self.server: FeedServer | None = None
        self.transport = FakeTransport(
            lambda: self.server, source=self.source, clock=self.clock, weather=STORM
        )
        self.copy = RecordingCopy(self.source, failing=0.1, expected=self.expected_at)
        connector = Connector(peer="the FSM", clock=self.clock, backoff=backoff(seed))
        self.follower = Follower(transport=self.transport, copy=self.copy, connector=connector)
        self.compacted = False
        self.pausing = 0.05
        """How often the site is paused, or let go on."""

    async def begin(self) -> None:
        await put(
            self.store,
            region("us"),
            region("west", "us"),
            site("sfo", "west", env="prod"),
            site("nyc", env="test"),
            policy("base", mandatory=True),
            network("AppX"),
        )

    async def change(self) -> None:
        """Commit something at random: mostly policy, now and then what decides the view, or a
        rollout's next step.
        """
        source = self.source
        if source.random() < 0.3:
            await rolled.go_on(self.store, source)
        if source.random() < self.pausing:
            await rolled.pause(self.store, "sfo")
        if source.random() < 0.2:
            await put(self.store, revocation(source.choice("ab"), source.randrange(9)))
        scope = source.choice([FEDERATION, "region/west", "region/east"])
        draft = source.choice(
            [
                policy(
                    source.choice("pqrs"),
                    sites=source.choice([None, {"env": "prod"}, {"env": "test"}]),
                    mandatory=source.random() < 0.5,
                    names=source.choice([("AppX",), ("B", "C")]),
                    scope=scope,
                    labels={"team": source.choice("xy")},
                    action=source.choice(["allow", "deny"]),
                ),
                network(source.choice(["AppX", "B", "C"]), scope=scope, vlan=source.randrange(9)),
            ]
        )
        more = []
        # Admission lets nobody change what decides a paused site's view.
        if source.random() < 0.06 and not rolled.is_paused(self.store, "sfo"):
            more.append(
                source.choice(
                    [
                        site("sfo", source.choice([None, "west", "us"]), env="prod"),
                        site("sfo", "west", env="test"),
                        subscription("sfo", kinds=source.choice([[], ["Network"]])),
                        subscription("sfo", selector={"matchLabels": {"team": "x"}}),
                    ]
                )
            )
        if any(target == draft.key for _, _, target in rolled.running(self.store)):
            return
        if draft.key.kind == "SecurityPolicy" and source.random() < 0.3:
            await rolled.start(self.store, draft)
        elif draft.key in self.store.objects and source.random() < 0.4:
            await delete(self.store, draft.key)
        else:
            await put(self.store, draft, *more)

    def oldest_needed(self) -> Revision:
        """Return how far the log may be dropped: not what a paused site keeps."""
        pause = self.store.objects[key("Site", "sfo")].spec.get("paused")
        return Revision(pause["revision"]) if pause else self.store.at.revision

    async def settle(self) -> None:
        """Let the weather clear, go on a little, and let the last changes arrive."""
        self.transport.weather, self.copy.failing = FAIR, 0.0
        await self.clock.pass_time(60)
        for _ in range(5):
            await self.change()
            await self.clock.pass_time(2)
        await self.clock.pass_time(60)

    async def expected(self) -> dict[Key, int]:
        return rolled.expected_at(self.store, self.store.at.revision, "sfo")

    def expected_at(self, position: Position) -> dict[Key, int]:
        if position.incarnation != self.store.at.incarnation:
            return {key: each.revision for key, each in self.copy.objects.items()}
        return rolled.expected_at(self.store, position.revision, "sfo")

    def start_server(self, group: Group) -> None:
        self.server = FeedServer(self.store, clock=self.clock)
        group.start(self.server.hub.run(), name="hub")


@pytest.mark.parametrize("seed", range(40))
async def test_every_history_ends_with_what_the_site_is_to_have_now(seed: int) -> None:
    history = History(seed)
    await history.begin()
    async with Group() as group:
        history.start_server(group)
        group.start(history.follower.run(), name="follower")
        for step in range(50):
            await history.change()
            await history.clock.pass_time(history.source.choice([0.0, 0.2, 2.0, 15.0]), turns=8)
            if step % 17 == 11:  # the FSM is restarted, and away for a while
                history.server = None
                await history.clock.pass_time(history.source.uniform(0, 40), turns=8)
                history.start_server(group)
            if seed % 4 == 3 and step % 10 == 9:
                await history.store.compact(history.oldest_needed())
                history.compacted = True
        await history.settle()

        got = {k: each.revision for k, each in history.copy.objects.items()}
        assert got == await history.expected()
        assert len(set(history.copy.applied)) == len(history.copy.applied), "each frame once"
        assert history.copy.applied == sorted(history.copy.applied)
        assert history.copy.applied, "a history without a frame proves nothing"
        assert history.follower.link.connected
        if not history.compacted:
            assert not history.copy.held, "with a whole log every removal is told"


@pytest.mark.parametrize("seed", range(8))
async def test_a_restored_store_is_listed_again_and_what_it_lacks_is_held(seed: int) -> None:
    history = History(seed)
    await history.begin()
    async with Group() as group:
        history.start_server(group)
        group.start(history.follower.run(), name="follower")
        await history.clock.pass_time(60)
        backup = history.store.at.revision
        await put(history.store, policy("after-the-backup", mandatory=True))
        await history.clock.pass_time(60)
        assert history.copy.at is not None
        assert history.copy.at.revision == history.store.at.revision

        history.store = history.store.restored("life-2", backup)
        history.server = None
        await history.clock.pass_time(5)
        history.start_server(group)
        await history.clock.pass_time(60)
        await history.settle()

        assert history.copy.at.incarnation == "life-2"
        assert {k.name for k in history.copy.held} == {"after-the-backup"}
        got = {k: each.revision for k, each in history.copy.objects.items()}
        assert got == await history.expected()


async def test_a_site_that_was_away_is_told_the_difference_without_a_new_listing() -> None:
    history = History(1)
    history.transport.weather, history.copy.failing = FAIR, 0.0
    await history.begin()
    async with Group() as group:
        history.start_server(group)
        group.start(history.follower.run(), name="follower")
        await history.clock.pass_time(10)
        history.server = None
        await history.clock.pass_time(60)
        for name in "abc":
            await put(history.store, policy(name))
        await delete(history.store, key("SecurityPolicy", "base"))
        await put(history.store, policy("a", action="deny"))
        history.start_server(group)
        await history.clock.pass_time(30)

        got = {k: each.revision for k, each in history.copy.objects.items()}
        assert got == await history.expected()
        assert history.copy.listed == 1
        assert len(history.copy.applied) == 1
