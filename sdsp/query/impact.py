"""What a draft of the FSM's would do here: worked out from what the site has now, and not written.

The draft comes as the feed would bring it, and is taken as the feed's would be: what the site
couldn't take stays as it is, and removals that would wait for a person are not counted.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from sdsp.compile.compiler import Compilation
from sdsp.compile.model import PLANNED, PLANNED_KINDS
from sdsp.flows import Past, PastFlows
from sdsp.site.sight import Tenants, narrowed
from sdsp.upstream.apply import position_in, refusals_of
from sdsp.upstream.removals import takes_much
from shared.access.permissions import Permission
from shared.access.reach import reach_of
from shared.auth.identity import Caller
from shared.clock import Clock
from shared.errors import Forbidden, Unavailable
from shared.ids import Key, Revision
from shared.model.kinds import KINDS
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import find_conflicts
from shared.policy.impact.site import site_impact
from shared.policy.inputs import Document, SiteInputs
from shared.policy.plan import Unresolved
from shared.query.impact import IMPACT, Draft
from shared.query.wire import JSON, Part, Question
from shared.store.contract import Store

Result = TypeVar("Result")

# Seconds between two looks at whether the site has taken over what it was sent.
_PAUSE: Final = 0.02
# How long that is waited for: what was sent is there in milliseconds, or the link is down.
_PATIENCE: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Taken:
    """A draft as the site would take it: what counts, what is refused and what is held."""

    puts: tuple[Document, ...]
    gone: frozenset[Key]
    refused: tuple[tuple[Key, str], ...]
    held: tuple[Key, ...]


class DraftImpacts:
    """A sdsp.query.answering.Answerer."""

    def __init__(
        self,
        store: Store,
        *,
        up_to_date: Callable[[], Awaitable[Compilation | None]],
        flows: PastFlows,
        executor: Executor,
        clock: Clock,
    ) -> None:
        """`executor` is for what nobody at the site waits for; nothing else may be planned in it
        at the same time.
        """
        self._store = store
        self._up_to_date = up_to_date
        self._flows = flows
        self._executor = executor
        self._clock = clock

    async def answer(self, caller: Caller, question: Question) -> AsyncGenerator[Part, None]:
        """Yield the impact in one part; Forbidden; Unavailable (`not_compiled`); TooLarge."""
        draft = Draft.parse(question.given)
        tenants = _tenants_of(caller)
        compilation = await self._compilation(draft.after)
        inputs = compilation.planner.inputs
        taken = await self._run(partial(_taken, inputs, draft, compilation.revision))
        before, after = await self._run(partial(_planners, inputs, taken, tenants))
        past = (await self._flows.read()).shown_to(tenants, inputs)
        if past.unreadable is not None:
            # Why is an affair of the site's: it may name its files.
            past = Past(unreadable="the site can't read them; hanse conflicts show there says why")
        said = await self._run(
            partial(_impact, before, after, tenants, past, max_boxes=draft.max_boxes)
        )
        conflicts = await self._run(partial(_conflicts, before, after, tenants))
        yield Part(
            IMPACT,
            {
                **said,
                "tenants": None if tenants is None else sorted(tenants),
                "revision": compilation.revision,
                "conflicts": conflicts,
                "refused": [
                    {**key._asdict(), "code": code}
                    for key, code in taken.refused
                    if _shown(key, tenants)
                ],
                "held": [key._asdict() for key in taken.held if _shown(key, tenants)],
            },
        )

    async def _compilation(self, after: int) -> Compilation:
        """Return what the site is now, with all that it was sent, and that its people wrote."""
        give_up = self._clock.monotonic() + _PATIENCE
        while True:
            found = await self._current(after)
            if found is not None:
                return found
            if self._clock.monotonic() >= give_up:
                break
            await self._clock.sleep(_PAUSE)
        newest = await self._current(0)
        if newest is None:
            raise Unavailable(
                "the site is taking changes over; ask again in a moment", code="not_compiled"
            )
        return newest

    async def _current(self, after: int) -> Compilation | None:
        """Return the compilation of the store's very objects; None if it lags behind them."""
        compilation = await self._up_to_date()
        if compilation is None:
            raise Unavailable("the site has not resolved its policy yet", code="not_compiled")
        async with self._store.snapshot() as snapshot:
            position = await position_in(snapshot)
            stored = await snapshot.list(PLANNED)
        if position is None or position.revision < after:
            return None
        written = {each.key: each.revision for each in stored}
        judged = {each.key: each.revision for each in compilation.planner.inputs}
        return compilation if written == judged else None

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _tenants_of(caller: Caller) -> Tenants:
    """Return whose policy the caller may be told of; None for everybody's.

    A part of a tenant's objects would give packets that nobody will ever see, so it is whole
    tenants or nothing: Forbidden.
    """
    reach = reach_of(caller, Permission.TRACE)
    if reach.is_whole:
        return None
    tenants = reach.full_tenants
    if not tenants:
        raise Forbidden(
            f"{caller.identity} holds no role here that has flowed down with the permission trace "
            "in whole tenants: bind one at the FSM with flowsDown"
        )
    return tenants


def _taken(inputs: SiteInputs, draft: Draft, revision: Revision) -> _Taken:
    codes = refusals_of(draft.puts)
    puts = tuple(
        Document(
            each.key,
            KINDS[each.key.kind].spec.model_validate(each.spec),
            each.document["metadata"].get("labels", {}),
            revision=Revision(revision + 1),
        )
        for each in draft.puts
        if each.key not in codes and each.key.kind in PLANNED_KINDS
    )
    gone = frozenset(key for key in draft.removals if inputs.federation.get(key) is not None)
    written = inputs.federation.changed(puts)
    is_large = bool(gone) and takes_much(
        inputs.site, (*written, *inputs.local), gone, now=inputs.now
    )
    return _Taken(
        puts,
        frozenset() if is_large else gone,
        tuple(sorted(codes.items())),
        tuple(sorted(gone)) if is_large else (),
    )


def _planners(
    inputs: SiteInputs, taken: _Taken, tenants: Tenants
) -> tuple[SitePlanner, SitePlanner]:
    """Return planners of now and of then; others ask the compilation's own in another thread."""
    after = replace(inputs, federation=inputs.federation.changed(taken.puts, taken.gone))
    before, then = (narrowed(SitePlanner(each), tenants) for each in (inputs, after))
    return before, then


def _impact(
    before: SitePlanner, after: SitePlanner, tenants: Tenants, past: Past, *, max_boxes: int
) -> dict[str, Any]:
    impact = site_impact(before, after, observed=past.observed)
    old, new = (_unresolved(each, tenants) for each in (before, after))
    return {
        **past.told(impact.to_json(max_boxes=max_boxes)),
        "changes": impact.changes,
        "unresolved": {
            "new": [each for each in new if each not in old],
            "gone": [each for each in old if each not in new],
        },
    }


def _unresolved(planner: SitePlanner, tenants: Tenants) -> list[JSON]:
    found: dict[tuple[str, ...], JSON] = {}
    views = (planner.plan(), *(planner.plan(names[0]) for names in _views(planner)))
    for plan in views:
        for each in plan.unresolved:
            if _is_of(each.rule.tenant, tenants):
                said = _unresolved_json(each)
                found.setdefault(tuple(said.values()), said)
    return list(found.values())


def _views(planner: SitePlanner) -> list[list[str]]:
    return list(planner.distinct_nodes().values())


def _unresolved_json(each: Unresolved) -> dict[str, str]:
    said = each.to_json()
    names = ("policy", "tenant", "rule", "side", "reference")
    return {name: str(said[name]) for name in names}


def _conflicts(before: SitePlanner, after: SitePlanner, tenants: Tenants) -> JSON:
    old, new = (
        {each.name: each for each in find_conflicts(planner) if _is_of(each.owner, tenants)}
        for planner in (before, after)
    )
    return {
        "new": [_conflict_json(each) for name, each in new.items() if name not in old],
        "gone": [_conflict_json(each) for name, each in old.items() if name not in new],
    }


def _conflict_json(each: Finding) -> JSON:
    return {
        "name": each.name,
        "type": each.type,
        "tenant": each.owner,
        "target": each.target._asdict(),
        "subject": each.subject,
        "urgency": each.urgency,
    }


def _is_of(tenant: str, tenants: Tenants) -> bool:
    return tenants is None or tenant in tenants


def _shown(key: Key, tenants: Tenants) -> bool:
    return _is_of(key.tenant, tenants)
