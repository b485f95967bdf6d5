"""People start a rollout, pause it, let it go on, and take it back.

What is rolled out is written like any other change, with its author's rights, the FSM's judgement
and an audit record; the Rollout stands beside it in the same transaction, so that no site has the
change before its turn, whoever is killed when.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fsm.feed.hub import Hub
from fsm.feed.item import Item
from fsm.feed.select import World, site_key
from fsm.rollouts.drafts import (
    Wish,
    changed,
    envelope_before,
    name_of,
    rewritten,
    rollout_key,
    started,
    target_key,
)
from fsm.rollouts.sites import sites_of
from fsm.rollouts.steps import Standing, Wait, Word, next_step, standings
from fsm.sites.facts import KnownSites
from shared.access.authorize import authorize
from shared.access.permissions import Permission
from shared.access.reach import Reach
from shared.auth.identity import Caller
from shared.clock import Clock
from shared.errors import Conflict, FieldError, Forbidden, Invalid, RevisionConflict
from shared.http.response import envelope_of, timestamp
from shared.ids import Key, Revision
from shared.model.base import Envelope
from shared.model.rollout import ENDED, Rollout
from shared.objects.call import Call
from shared.objects.rights import absent, check_labels, check_write, may_read
from shared.objects.service import Objects, Options, Write, Written
from shared.objects.trail import Trail
from shared.store.contract import ABSENT, Draft, Store, Stored, Transaction

ROLLABLE: Final = frozenset({"SecurityPolicy"})
"""Kinds of which sites report what became of them, and which generation runs."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How a change is rolled out; `expected` is the target's revision that must still stand."""

    wish: Wish
    reason: str | None = None
    expected: Revision | None = None
    dry_run: bool = False


class Rollouts:
    def __init__(
        self, hub: Hub, store: Store, *, objects: Objects, trail: Trail, known: KnownSites,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._hub = hub
        self._store = store
        self._objects = objects
        self._trail = trail
        self._known = known
        self._clock = clock

    async def start(self, call: Call, envelope: Envelope[Any], asked: Asked) -> Stored:
        """Write a change that goes site by site, and return its Rollout.

        Invalid (`not_rolled_out`, `rollout_unchanged`); Conflict (`rollout_exists`); and whatever
        the change itself is refused for, `rollout_running` among them.
        """
        target = envelope.key(self._objects.default_scope)
        if target.kind not in ROLLABLE:
            message = f"a {target.kind} doesn't go site by site: {', '.join(sorted(ROLLABLE))} does"
            fault = FieldError("object.kind", "not_rolled_out", message)
            raise Invalid(message, code="not_rolled_out", fields=[fault])
        self._check(call.caller, target, [envelope.metadata.labels])
        check_write(call.caller, target)
        before = await self._objects.find(target)
        _check_expected(target, before, asked.expected)
        made: list[Stored] = []

        async def beside(transaction: Transaction, written: Sequence[Written]) -> None:
            after = written[0].stored
            if before is not None and after.generation == before.generation:
                message = f"{target} says so already; only a changed spec is rolled out"
                raise Invalid(message, code="rollout_unchanged")
            key = rollout_key(target, name_of(target, after.generation, given=asked.wish.name))
            if await transaction.get(key) is not None:
                message = f"there is a rollout {key.name} already; give another name"
                raise Conflict(message, code="rollout_exists")
            spec = started(
                asked.wish, before, after, by=call.caller.identity, now=self._clock.now()
            )
            draft = Draft(key=key, spec=spec, labels=after.labels)
            made[:] = [await transaction.put(draft, expected=ABSENT)]
            await self._record(transaction, call, "rollout.start", made[0], asked.reason)

        write = Write(target, envelope, before.revision if before else ABSENT)
        options = Options(dry_run=asked.dry_run, reason=asked.reason, alongside=beside)
        applied = await self._objects.apply(call, [write], options)
        if applied.replayed:
            return await self._replayed(target, applied.written[0].stored, asked.wish)
        return made[0]

    async def pause(self, call: Call, key: Key, *, reason: str) -> Stored:
        """Halt a rollout: no further site is reached.  NotFound; Conflict (`rollout_ended`)."""
        return await self._steer(
            call, key, "rollout.pause", reason, lambda spec: changed(spec, paused=True)
        )

    async def resume(
        self, call: Call, key: Key, *, reason: str, max_failures: int | None = None
    ) -> Stored:
        """Let a paused or stopped rollout go on.

        NotFound; Conflict (`rollout_ended`, and `rollout_failing` if it would stop at once).
        """
        await self._check_failures(key, max_failures)

        def onward(spec: Rollout) -> Mapping[str, Any]:
            most = spec.max_failures if max_failures is None else max_failures
            return changed(spec, paused=None, state=None, stopped=None, maxFailures=most)

        return await self._steer(call, key, "rollout.resume", reason, onward)

    async def abort(self, call: Call, key: Key, *, reason: str) -> Stored:
        """End a rollout and put the version before back, as a new one; sites reached get it.

        NotFound; Conflict (`rollout_ended`); and whatever that write is refused for.
        """
        stored, spec = await self._running(call.caller, key)
        target = target_key(key, spec)
        check_write(call.caller, target)
        now = await self._objects.find(target)
        before = spec.before
        check_labels(
            call.caller,
            target,
            before=now.labels if now else None,
            after=before.labels if before else None,
        )
        made: list[Stored] = []

        async def beside(transaction: Transaction, _: Sequence[Written]) -> None:
            # Each step makes another revision of it; what counts is that it hasn't ended.
            current, was = await self._live(transaction, call.caller, key)
            ended = changed(was, state="aborted", paused=None, endedAt=self._clock.now())
            made[:] = [await transaction.put(rewritten(current, ended))]
            await self._record(transaction, call, "rollout.abort", made[0], reason)

        envelope = None if before is None else envelope_before(target, before)
        write = Write(target, envelope, now.revision if now else ABSENT)
        options = Options(trusted=True, reason=f"rollout {key.name} aborted: {reason}"[:2000],
                          alongside=beside)  # fmt: skip
        applied = await self._objects.apply(call, [write], options)
        if applied.replayed:
            return await self._objects.find(key) or stored
        return made[0]

    async def progress(self, key: Key, reach: Reach) -> dict[str, Any]:
        """Return a rollout with how each site stands in it, as far as sites may be seen."""
        stored = await self._objects.find(key)
        if stored is None:
            raise absent(key)
        spec = Rollout.model_validate(stored.spec)
        found, waits = await self._standings(key, spec)
        world = self._hub.world
        seen = [
            each
            for each in found
            if (item := world.get(site_key(each.site))) and reach.sees_machine(item.labels)
        ]
        waves: dict[int, list[dict[str, Any]]] = {}
        for each in seen:
            waves.setdefault(each.wave, []).append(_to_json(each))
        names = {each.site for each in seen}
        return {
            "rollout": envelope_of(stored),
            "waves": [
                {
                    "wave": number,
                    "selector": spec.order[number].to_json() if number < len(spec.order) else None,
                    "sites": sites,
                }
                for number, sites in sorted(waves.items())
            ],
            "failed": sum(each.word is Word.FAILED for each in found),
            "waitsFor": [each for each in waits if each in names],
        }

    async def _standings(self, key: Key, spec: Rollout) -> tuple[list[Standing], tuple[str, ...]]:
        """Return how each site stands, and those that are waited for."""
        told = await self._known.read()
        world = dict(self._hub.world)
        item = world.get(key)
        if item is None or not _is_current(item, world):
            reached = [(step, site) for step in spec.reached for site in step.sites]
            found = [Standing(s, step.wave, Word.REACHED, None, step.at) for step, s in reached]
            return sorted(found, key=lambda each: (each.wave, each.site)), ()
        now = self._clock.now()
        sites = await sites_of(world, item, item.rolled, told, now=now)
        spec = Rollout.model_validate(item.spec)
        step = next_step(spec, sites, now=now)
        waits = step.sites if isinstance(step, Wait) and item.rolling is not None else ()
        return standings(spec, sites, now=now), waits

    async def _check_failures(self, key: Key, max_failures: int | None) -> None:
        """Raise Conflict (`rollout_failing`) if more sites fail now than may."""
        stored = await self._objects.find(key)
        if stored is None:
            return  # told as of every other
        spec = Rollout.model_validate(stored.spec)
        if spec.state in ENDED:
            return
        found, _ = await self._standings(key, spec)
        failed = [each for each in found if each.word is Word.FAILED]
        most = spec.max_failures if max_failures is None else max_failures
        if len(failed) > most:
            raise Conflict(
                f"it would stop again at once: {len(failed)} sites failed and {most} may; mend "
                "them, or allow more with --max-failures",
                code="rollout_failing",
            )

    async def _steer(
        self,
        call: Call,
        key: Key,
        action: str,
        reason: str,
        steer: Callable[[Rollout], Mapping[str, Any]],
    ) -> Stored:
        async def work(transaction: Transaction) -> Stored:
            stored, spec = await self._live(transaction, call.caller, key)
            after = await transaction.put(rewritten(stored, steer(spec)))
            await self._record(transaction, call, action, after, reason)
            return after

        return (await self._store.transact(work)).result

    async def _running(self, caller: Caller, key: Key) -> tuple[Stored, Rollout]:
        async with self._store.snapshot() as snapshot:
            return self._checked(caller, key, await snapshot.get(key))

    async def _live(
        self, transaction: Transaction, caller: Caller, key: Key
    ) -> tuple[Stored, Rollout]:
        return self._checked(caller, key, await transaction.get(key))

    def _checked(self, caller: Caller, key: Key, stored: Stored | None) -> tuple[Stored, Rollout]:
        """Return a rollout that hasn't ended; NotFound, Forbidden, Conflict (`rollout_ended`)."""
        if stored is None or not may_read(caller, key, stored.labels):
            raise absent(key)
        self._check(caller, key, [stored.labels])
        spec = Rollout.model_validate(stored.spec)
        if spec.state in ENDED:
            raise Conflict(f"rollout {key.name} is {spec.state} already", code="rollout_ended")
        return stored, spec

    def _check(self, caller: Caller, key: Key, labels: Sequence[Mapping[str, str]]) -> None:
        for each in labels:
            decision = authorize(
                caller,
                Permission.WRITE_ROLLOUT,
                tenant=key.tenant,
                scope=self._objects.default_scope,
                labels=each,
            )
            if not decision.allowed:
                raise Forbidden(decision.reason)

    async def _record(
        self, transaction: Transaction, call: Call, action: str, rollout: Stored, reason: str | None
    ) -> None:
        spec = rollout.spec
        record = self._trail.record(
            call,
            action,
            key=rollout.key,
            reason=reason,
            diff={name: spec.get(name) for name in ("target", "generation", "state", "wave")},
            permission=Permission.WRITE_ROLLOUT,
        )
        await transaction.audit(record)

    async def _replayed(self, target: Key, after: Stored, wish: Wish) -> Stored:
        key = rollout_key(target, name_of(target, after.generation, given=wish.name))
        stored = await self._objects.find(key)
        if stored is None:
            raise absent(key)
        return stored


def _is_current(rollout: Item, world: World) -> bool:
    """Return whether what sites say of the target now is of the version that was rolled out."""
    if rollout.rolling is not None:
        return True
    target = world.get(rollout.rolled.target)
    return (
        rollout.spec.get("state") == "done"
        and target is not None
        and target.stored.generation == rollout.spec.get("generation")
    )


def _check_expected(target: Key, before: Stored | None, expected: Revision | None) -> None:
    found = before.revision if before else ABSENT
    if expected is not None and expected != found:
        raise RevisionConflict(f"{target} is at revision {found}, not {expected}; read it again")


def _to_json(each: Standing) -> dict[str, Any]:
    at: datetime | None = each.reached_at
    return {
        "site": each.site,
        "word": each.word.value,
        "code": each.code,
        "reachedAt": timestamp(at) if at else None,
    }
