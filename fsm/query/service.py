"""Ask every site that a draft concerns what it would do there, and put the answers together."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from fsm.feed.hub import Hub
from fsm.feed.item import Item
from fsm.feed.select import World, change_of, is_meant_for, view_of
from fsm.query import merge
from fsm.query.draft import items, judged
from fsm.query.fanout import Fanout, Round, SiteAnswer, SiteQuestion
from fsm.query.plan import SitePart, drafted, part_of
from shared.access.permissions import Permission
from shared.access.reach import Reach, reach_of
from shared.auth.identity import Caller
from shared.clock import Clock
from shared.errors import Gone, Invalid, Malformed, TooLarge, Unavailable
from shared.feed.wire import Position as FeedPosition
from shared.feed.wire import key_to_json
from shared.login.delegating import Delegations
from shared.model.selectors import Selector
from shared.objects.admission import Admission
from shared.objects.service import Write
from shared.query.impact import IMPACT, draft_json, parse_impact
from shared.query.wire import Part
from shared.store.contract import Position, Store

# What one site may be sent at most; a question is one body.
_LONGEST_QUESTION: Final = 7 * 1024 * 1024

# Sites that are looked at between two turns of the event loop.
_A_WHILE: Final = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a draft; `sites` None: of every site that it concerns."""

    writes: Sequence[Write]
    sites: Selector | None
    deadline: float
    require_all: bool
    max_boxes: int
    force: bool


@dataclass(slots=True)
class _Plan:
    """A draft held against one revision, and the sites that it concerns."""

    base: Position
    before: World
    parts: Mapping[str, SitePart]
    questions: Sequence[SiteQuestion]
    faults: Sequence[SiteAnswer]
    changed_since: dict[int, Sequence[tuple[Item | None, Item | None]] | None] = field(
        default_factory=dict
    )


class ImpactQueries:
    def __init__(
        self,
        store: Store,
        hub: Hub,
        *,
        admission: Admission,
        fanout: Fanout,
        delegations: Delegations,
        clock: Clock,
    ) -> None:
        self._store = store
        self._hub = hub
        self._admission = admission
        self._fanout = fanout
        self._delegations = delegations
        self._clock = clock

    async def lines(self, caller: Caller, asked: Asked) -> AsyncIterator[bytes]:
        """Return the lines of the answer.

        Raises beforehand what an apply would be refused for, Forbidden for a component, TooLarge,
        Unavailable.
        """
        asker = self._delegations.asker(caller)
        plan = await self._plan(caller, asked)
        answers = self._fanout.asking(Round(asker, IMPACT, asked.deadline, _parsed), plan.questions)

        async def told() -> AsyncIterator[bytes]:
            yield _line(_begun(plan))
            got: list[SiteAnswer] = []
            for each in plan.faults:
                got.append(each)
                yield _line(await self._told(plan, each))
            async with answers as arriving:
                waiting = {each.site for each in plan.questions}
                async for answer in arriving:
                    if answer is None:
                        yield _line({"type": "waiting", "sites": sorted(waiting)})
                        continue
                    got.append(answer)
                    waiting.discard(answer.site)
                    yield _line(await self._told(plan, answer))
            total = merge.total_json(got)
            if asked.require_all and total["partial"]:
                names = ", ".join(each["site"] for each in total["missing"])
                raise Unavailable(
                    f"not every site answered, as was asked for: {names}", code="sites_missing"
                )
            yield _line({"type": "end", "base": _base(plan.base), **total})

        return told()

    async def _plan(self, caller: Caller, asked: Asked) -> _Plan:
        async with self._store.snapshot() as snapshot:
            await judged(caller, asked.writes, snapshot, self._admission, force=asked.force)
            revision = snapshot.position.revision
        if not await self._hub.reach(revision):
            raise Unavailable("the FSM is behind its store; try again")
        # Until the next await the world can't move on.
        base, before = self._hub.position, dict(self._hub.world)
        changes = items(asked.writes, before, revision=base.revision, now=self._clock.now())
        after, changed = drafted(before, changes), sorted(changes)
        reach = reach_of(caller, Permission.TRACE)
        parts: dict[str, SitePart] = {}
        for number, site in enumerate(_sites(before, after, asked.sites, reach)):
            if number % _A_WHILE == _A_WHILE - 1:
                await asyncio.sleep(0)
            part = part_of(before, after, changed, site)
            if part is not None:
                parts[site] = part
        return _Plan(
            base,
            before,
            parts,
            [self._question(each, asked) for each in parts.values() if each.fault is None],
            [_fault(each) for each in parts.values() if each.fault is not None],
        )

    def _question(self, part: SitePart, asked: Asked) -> SiteQuestion:
        size = sum(len(item.document) for item in part.puts)
        if size > _LONGEST_QUESTION:
            raise TooLarge(
                f"site {part.site} would be sent {size} bytes at once, and {_LONGEST_QUESTION} can "
                "be asked about: ask about a part of the draft"
            )
        puts = [orjson.Fragment(item.document) for item in part.puts]
        given = draft_json(
            puts,
            part.removals,
            after=self._hub.sent(part.site) or 0,
            max_boxes=asked.max_boxes,
        )
        return SiteQuestion(part.site, part.endpoint, given)

    async def _told(self, plan: _Plan, answer: SiteAnswer) -> dict[str, Any]:
        current = await self._is_current(plan, answer.site, answer.position)
        withheld = [key_to_json(key) for key in plan.parts[answer.site].withheld]
        return {
            "type": "site",
            **merge.site_json(answer, is_current=current, withheld=withheld),
        }

    async def _is_current(self, plan: _Plan, site: str, at: FeedPosition | None) -> bool:
        """Return whether a site judged by all that it had to have at the draft's base."""
        if at is None or at.incarnation != plan.base.incarnation:
            return False
        view = view_of(plan.before, site)
        if view is None or view.paused is not None or at.view != view.digest:
            # A paused site keeps the policy of earlier.
            return False
        if at.revision == plan.base.revision:
            return True
        if at.revision not in plan.changed_since:
            plan.changed_since[at.revision] = await self._changed(plan, at.revision)
        changed = plan.changed_since[at.revision]
        if changed is None:
            return False
        if view.is_narrowed:
            return not any(
                each is not None and is_meant_for(view, each.audience)
                for pair in changed
                for each in pair
            )
        return not any(change_of(view, old, new) for old, new in changed)

    async def _changed(
        self, plan: _Plan, revision: int
    ) -> Sequence[tuple[Item | None, Item | None]] | None:
        """Return what differs between a revision and the draft's base; None if nobody knows."""
        try:
            there = (await self._hub.loaded_at(revision)).items
        except (Gone, Invalid):
            return None
        pairs = ((there.get(key), plan.before.get(key)) for key in {*there, *plan.before})
        return [(old, new) for old, new in pairs if _version(old) != _version(new)]


def _sites(before: World, after: World, wanted: Selector | None, reach: Reach) -> Sequence[str]:
    """Return the sites that were asked for, as far as the caller sees them."""
    found: dict[str, None] = {}
    for world in (after, before):
        for key, item in world.items():
            if (
                key.kind == "Site"
                and (wanted is None or wanted.matches(item.labels))
                and reach.sees_machine(item.labels)
            ):
                found[key.name] = None
    return sorted(found)


def _fault(part: SitePart) -> SiteAnswer:
    if part.fault == "site_deleted":
        message = "the draft deletes the site; nothing is delivered to it any longer"
        return SiteAnswer(part.site, "error", 0.0, code="site_deleted", message=message)
    message = "the draft makes the site; nobody is there to be asked"
    return SiteAnswer(part.site, "unreachable", 0.0, code="site_is_new", message=message)


def _parsed(part: Part) -> Any:
    if part.name != IMPACT:
        raise Malformed(f"the site answers with a part {part.name[:40]!r} that nobody asked for")
    return parse_impact(part.data)


def _begun(plan: _Plan) -> dict[str, Any]:
    return {"type": "begun", "base": _base(plan.base), "sites": sorted(plan.parts)}


def _base(position: Position) -> dict[str, Any]:
    return {"revision": position.revision, "incarnation": str(position.incarnation)}


def _version(item: Item | None) -> tuple[str, int] | None:
    return None if item is None else item.version


def _line(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
