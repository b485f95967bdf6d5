"""Mistakes planted into the product, each of the sort that a careful engineer makes once.

A checker that has never found anything may be blind: each of these must be noticed.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import fsm.feed.hub
import sdsp.conflicts.find
import sdsp.upstream.apply
import sdsp.upstream.report
from dsn.enforce.apply import Enforcer
from dsn.upstream.follow import ConfigurationFollower
from fsm.feed.hub import Hub
from sdsp.conflicts.cases import Cases
from sdsp.upstream.apply import Inbound
from shared.feed import follow
from shared.feed.wire import Changes
from shared.ids import Revision
from shared.policy.conflicts.followed import FollowedConflicts
from shared.store.contract import Commit, Committed
from shared.store.sql import SqlStore
from tests.simulation.loop import current
from tests.simulation.network import Weather
from tests.simulation.run import DISAGREEING, SMALL, Plan


@contextmanager
def _instead(where: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Put `make(what is there)` in an attribute's place, for the length of a block."""
    before = vars(where)[name]
    setattr(where, name, make(before))
    try:
        yield
    finally:
        setattr(where, name, before)


class _Undone(Exception):
    """Takes a trial back."""


def acknowledge_before_commit() -> Any:
    """A person's write is answered first, and committed a moment later."""

    def make(transact: Any) -> Any:
        async def wrong(self: SqlStore, work: Any, **options: Any) -> Any:
            if not options.get("request_id"):
                return await transact(self, work, **options)
            tried = []

            async def trial(transaction: Any) -> None:
                tried.append((await work(transaction), transaction.base))
                raise _Undone

            try:
                await transact(self, trial, **{**options, "request_id": None})
            except _Undone:
                result, base = tried[-1]

            async def later() -> None:
                await asyncio.sleep(1.0)
                await transact(self, work, **options)

            task = asyncio.get_running_loop().create_task(later())
            # Somebody has to keep it.
            current().on_kill.append(task.get_name)
            position = replace(base, revision=Revision(base.revision + 1))
            return Committed(result, position)

        return wrong

    return _instead(SqlStore, "transact", make)


def apply_twice() -> Any:
    """A line of changes that came is taken over, and then once more."""

    def make(take: Any) -> Any:
        async def wrong(self: Any, frame: Any, position: Any) -> Any:
            new = await take(self, frame, position)
            if isinstance(frame, Changes) and new != position:
                await self._copy.apply(frame)
            return new

        return wrong

    return _instead(follow.Follower, "_take", make)


def overlook_a_gap() -> Any:
    """A line is taken over although one before it is missing."""

    def make(take: Any) -> Any:
        async def wrong(self: Any, frame: Any, position: Any) -> Any:
            if not isinstance(frame, follow.Changes | follow.Bookmark):
                return await take(self, frame, position)
            return await take(self, replace(frame, after=position.revision), position)

        return wrong

    return _instead(follow.Follower, "_take", make)


def forget_tombstones() -> Any:
    """What a snapshot says is gone is not heard."""

    def make(parse: Any) -> Any:
        def wrong(data: Any) -> Any:
            return replace(parse(data), tombstones=())

        return wrong

    return _instead(follow, "parse_page", make)


def resume_with_a_gap() -> Any:
    """Who resumes gets what comes from now on, not what happened since."""

    def make(_loaded_before: Any) -> Any:
        async def wrong(_self: Hub, _site: str, _at: Any) -> None:
            return None

        return wrong

    return _instead(Hub, "_loaded_before", make)


def note_the_position_first() -> Any:
    """The position is committed, then in another transaction what it stands for."""

    def make(apply: Any) -> Any:
        async def wrong(self: Inbound, changes: Changes) -> Any:
            await self.advance(changes.position)
            await asyncio.sleep(0.3)
            return await apply(self, changes)

        return wrong

    return _instead(Inbound, "apply", make)


def let_all_go_at_once() -> Any:
    """A removal that takes most rules away asks nobody."""
    return _instead(sdsp.upstream.apply, "takes_much", lambda _: lambda *_args, **_more: False)


def forget_what_is_missing() -> Any:
    """What a snapshot doesn't contain is neither held nor let go."""
    return _instead(sdsp.upstream.apply, "missing_in", lambda _: lambda *_args: [])


def lose_a_commit() -> Any:
    """A watcher that finds two commits at once gets the second one."""

    def make(watch: Any) -> Any:
        async def wrong(self: SqlStore, after: Revision, **options: Any) -> Any:
            number = 0
            async for event in watch(self, after, **options):
                number += isinstance(event, Commit)
                if not (isinstance(event, Commit) and number % 5 == 0):
                    yield event

        return wrong

    return _instead(SqlStore, "watch", make)


def start_without_rules() -> Any:
    """A node that starts goes on without its last good rules."""

    def make(_restore: Any) -> Any:
        async def wrong(_self: Enforcer, _node: str) -> bool:
            return False

        return wrong

    return _instead(Enforcer, "restore", make)


def enforce_what_was_damaged() -> Any:
    """A node takes a configuration under whatever hash it was sent."""

    def make(read: Any) -> Any:
        def wrong(self: ConfigurationFollower, step: Any, version: Any) -> Any:
            if step.delta is None or self._received is None:
                return read(self, step, version)
            # The difference is passed over, and its hash believed.
            return replace(self._received, version=version)

        return wrong

    return _instead(ConfigurationFollower, "_read_step", make)


def keep_the_old_view() -> Any:
    """A site whose labels or regions change goes on as if they hadn't."""

    def make(_decides: Any) -> Any:
        return lambda *_args: False

    return _instead(fsm.feed.hub, "decides_view", make)


def overlook_what_both_edited() -> Any:
    """A site doesn't see that an exception and its target have parted."""

    def make(update: Any) -> Any:
        def wrong(self: Any, *arguments: Any, **more: Any) -> Any:
            found = update(self, *arguments, **more)
            return [each for each in found if each.type != "edited_both"]

        return wrong

    return _instead(FollowedConflicts, "update", make)


def leave_what_is_settled() -> Any:
    """A conflict that is gone stays open."""

    def make(changes: Any) -> Any:
        def wrong(*arguments: Any, **more: Any) -> Any:
            return [each for each in changes(*arguments, **more) if each.action != "closed"]

        return wrong

    return _instead(sdsp.conflicts.find, "changes", make)


def settle_without_a_word_of_it() -> Any:
    """A decision is written down, and not what follows from it."""

    def make(read: Any) -> Any:
        async def wrong(self: Cases, *arguments: Any) -> Any:
            return replace(await read(self, *arguments), writes=())

        return wrong

    return _instead(Cases, "read", make)


def tell_the_federation_once() -> Any:
    """The FSM hears of the first conflicts and never again."""

    def make(upward: Any) -> Any:
        told: list[Any] = []

        def wrong(conflicts: Any, *, judged: int) -> Any:
            told.append(upward(conflicts, judged=judged))
            return told[0]

        return wrong

    return _instead(sdsp.upstream.report, "upward", make)


_CALM: Final = ("jump",)
_LOSSY: Final = Weather(lost=0.1)

BUGS: Final[Mapping[Callable[[], Any], tuple[Plan, int]]] = {
    acknowledge_before_commit: (SMALL, 1),
    apply_twice: (SMALL, 1),
    overlook_a_gap: (Plan(weather=_LOSSY, only=_CALM, edits=20), 9),
    forget_tombstones: (Plan(only=_CALM, edits=30), 2),
    resume_with_a_gap: (SMALL, 2),
    note_the_position_first: (Plan(only=("kill", "kill soon"), mishaps=20), 6),
    let_all_go_at_once: (Plan(only=_CALM, edits=40), 1),
    forget_what_is_missing: (Plan(only=("restore fsm", "jump")), 1),
    lose_a_commit: (SMALL, 1),
    start_without_rules: (Plan(only=("kill", "reboot")), 1),
    enforce_what_was_damaged: (Plan(only=_CALM, edits=20), 1),
    keep_the_old_view: (Plan(only=_CALM, edits=25), 1),
    overlook_what_both_edited: (DISAGREEING, 1),
    leave_what_is_settled: (DISAGREEING, 1),
    settle_without_a_word_of_it: (DISAGREEING, 1),
    tell_the_federation_once: (DISAGREEING, 1),
}
"""Each with what befalls a federation that is likely to show it, and a seed that did."""
