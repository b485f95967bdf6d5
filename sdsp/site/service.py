"""What a site knows of itself: status, resolved rules, verdicts, and what it holds.

Who asks sees as far as his permission reaches (sdsp.site.sight): his tenants' and what has the
labels that he may see.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from datetime import datetime
from functools import partial
from typing import Any, Final

from sdsp.compile.compiler import Compilation
from sdsp.compile.nodes import Published
from sdsp.nodes.publication import Publications
from sdsp.nodes.states import NodeState, NodeStates
from sdsp.realisation import for_people
from sdsp.site.away import Upward, policy_age, upward_answer
from sdsp.site.sight import Sight, Tenants, narrowed
from sdsp.site.tracing import traced
from sdsp.staged.counts import StagedCounts
from sdsp.status import NodeStanding, PolicyStatus, policy_statuses
from sdsp.steady import SteadyTime
from sdsp.upstream.apply import (
    INHERITED,
    Sees,
    changed_in,
    held_in,
    position_in,
    refused_in,
    seen_of,
)
from shared.algebra.cidrs import Family
from shared.backup.answers import backups_json, upward_json
from shared.backup.standing import Task, states_in
from shared.clock import Clock
from shared.errors import Invalid, Unavailable
from shared.feed.wire import Position
from shared.ids import COMMON, SITE, Key
from shared.login.glass import answer_of, glass_in, upward_of
from shared.pki.alarm import Expiring
from shared.policy.balancers import FIREWALL
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.exceptions import superfluous
from shared.policy.nodeconfig import Packet
from shared.policy.nodeplan import unenforced
from shared.store.contract import Selection, Store, Stored
from shared.telemetry.journal import recent_events

JSON = Mapping[str, Any]

_NODES: Final = Selection(kinds=frozenset({"Node"}))
_CONFLICTS: Final = Selection(kinds=frozenset({"Conflict"}))
_HIDDEN: Final = frozenset({"counters", "connected", "message", "roots", "services"})

_OWN: Final = Key("", COMMON, SITE, "")
"""Where the server's own affairs are, which are no object's."""

# Of the newest state of the site; sets of tenants whose people ask at one time.
_PLANNERS: Final = 8


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store says of how the site stands, at one moment."""

    position: Position | None
    held: Sequence[JSON]
    shown: Sequence[JSON]
    """What is held and may be seen."""
    refused: Sequence[JSON]
    inherited: Mapping[str, JSON]
    nodes: Sequence[Stored]
    changed: int
    """The revision at which upstream last changed what is planned."""
    conflicts: Sequence[Stored]


class SiteView:
    """Answers from the newest compilation; asks nobody else."""

    def __init__(
        self,
        *,
        site: str,
        store: Store,
        newest: Callable[[], Compilation | None],
        up_to_date: Callable[[], Awaitable[Compilation | None]],
        publications: Publications,
        states: NodeStates,
        upward: Upward,
        time: SteadyTime,
        clock: Clock,
        executor: Executor,
        backups: Callable[[], Sequence[Task] | None] = lambda: None,
        staged: StagedCounts | None = None,
    ) -> None:
        """`newest` is the last review of the site, `up_to_date` one of what was compiled last.
        `executor` has one thread, in which verdicts are worked out.  `backups` returns those that
        are wanted, `staged` what was counted for staged policies.
        """
        self.site = site
        self._store = store
        self._newest = newest
        self._up_to_date = up_to_date
        self._publications = publications
        self._states = states
        self._upward = upward
        self._time = time
        self._clock = clock
        self._executor = executor
        self._backups = backups
        self._staged = staged
        self.expiring: Callable[[], Sequence[Expiring]] = tuple
        """Returns those of the site's certificates that expire soon and have no successor."""
        self._planners: OrderedDict[Tenants, tuple[Compilation, SitePlanner]] = OrderedDict()

    def newest(self) -> Compilation | None:
        return self._newest()

    async def compilation(self) -> Compilation:
        """Return what the site is now; Unavailable (`not_compiled`) before the FSM was heard."""
        newest = await self._up_to_date()
        if newest is None:
            raise Unavailable(
                f"site {self.site} has not received its policy yet; `hanse status` says whether it "
                "is connected to the FSM",
                code="not_compiled",
            )
        return newest

    async def standing(
        self, sees: Sees = lambda _key, _labels: True, *, conflicts: bool = False
    ) -> Standing:
        """Return how the site stands; its conflicts, which may be many, if asked for."""
        async with self._store.snapshot() as snapshot:
            held = await held_in(snapshot)
            return Standing(
                position=await position_in(snapshot),
                held=held,
                shown=await seen_of(held, snapshot, sees),
                refused=await refused_in(snapshot),
                inherited=await snapshot.records(INHERITED),
                nodes=await snapshot.list(_NODES),
                changed=await changed_in(snapshot),
                conflicts=await snapshot.list(_CONFLICTS) if conflicts else (),
            )

    async def status(self, sight: Sight) -> dict[str, Any]:
        """Return how the site stands: upstream, policies, nodes, what is held or was refused."""
        reach = sight.reach
        standing = await self.standing(reach.sees)
        newest = self._newest()
        nodes = [each for each in standing.nodes if reach.sees_machine(each.labels)]
        counted = None if reach.sees_machine(None) else {each.key.name for each in nodes}
        policies = self.realisation(newest, standing.held, counted) if newest else []
        waiting = unenforced(newest.planner) if newest else ()
        idle = superfluous(newest.planner) if newest else ()
        return {
            "site": self.site,
            "upstream": await self._upstream(standing.position, reach.sees),
            "revision": newest.revision if newest else None,
            "clockLeapt": self._time.has_leapt,
            "policies": for_people(
                each for each in policies if reach.sees(each.key, each.facts.labels)
            ),
            "nodes": [self._node(each, sight) for each in nodes],
            "unenforced": [each.key.name for each in waiting if sight.sees(each)],
            "staged": self._staged.shown(reach.sees) if self._staged is not None else [],
            # Exceptions that say just what is inherited by now.
            "superfluous": [
                {part: getattr(each.key, part) for part in ("name", "tenant", "scope")}
                for each in idle
                if reach.sees(each.key, each.labels)
            ],
            "held": list(standing.shown),
            # What could not be taken over has no labels that anybody could go by.
            "refused": [each for each in standing.refused if reach.sees(_key_of(each), None)],
            # Both are the server's own affairs.
            **(await self._affairs() if reach.sees(_OWN, None) else {}),
        }

    async def _affairs(self) -> dict[str, Any]:
        async with self._store.snapshot() as snapshot:
            states = await states_in(snapshot)
            events = await recent_events(snapshot)
            glass = await glass_in(snapshot)
        wanted = self._backups() or ()
        return {
            "breakGlass": answer_of(glass, self._clock.now()),
            "backups": backups_json(wanted, states, now=self._clock.now()),
            "events": [each.to_json() for each in events],
            "expiring": [each.to_json() for each in self.expiring()],
        }

    async def break_glass_upward(self) -> dict[str, Any] | None:
        """Return what the FSM is told of the emergency account; None while it is shut."""
        async with self._store.snapshot() as snapshot:
            return upward_of(await glass_in(snapshot), self._clock.now())

    async def backups_upward(self) -> list[dict[str, Any]]:
        """Return what the FSM is told of backups."""
        async with self._store.snapshot() as snapshot:
            return upward_json(self._backups() or (), await states_in(snapshot))

    def staged_upward(self) -> list[dict[str, Any]]:
        """Return what the FSM is told of staged policies."""
        return self._staged.upward() if self._staged is not None else []

    def realisation(
        self,
        newest: Compilation,
        held: Sequence[JSON],
        counted: Container[str] | None = None,
    ) -> list[PolicyStatus]:
        """Return what became of each policy that was compiled; see policy_statuses()."""
        nodes: dict[str, NodeStanding] = {}
        for name in newest.planner.places.nodes:
            wanted = self._publications.newest(name)
            if wanted is not None:
                state = self._states.get(name)
                earlier = self._publications.earlier(name, state.hash)
                nodes[name] = NodeStanding(wanted, state, earlier)
        keys = frozenset(map(_key_of, held))
        return policy_statuses(newest.policies, nodes, held=keys, counted=counted)

    def node_states(self, nodes: Sequence[Stored]) -> list[tuple[str, bool]]:
        """Return each node's state in a word, and whether it is connected."""
        now = self._clock.now()
        found = []
        for stored in nodes:
            name = stored.key.name
            state = self._states.get(name)
            word = _node_state(stored, state, self._publications.newest(name))
            found.append((word, state.is_connected(now)))
        return found

    def running(self) -> Mapping[str, tuple[str, ...]]:
        """Return the network services that nodes run: of those that were heard of their newest
        configuration, and only where a policy asks.
        """
        newest = self._newest()
        if newest is None or not newest.planner.has_requirements:
            return {}
        found = {}
        for name in newest.planner.places.nodes:
            wanted, state = self._publications.newest(name), self._states.get(name)
            if wanted is not None and state.generation == wanted.generation:
                found[name] = state.runs
        return found

    def services_run(self, nodes: Sequence[Stored]) -> Counter[str]:
        """Return how many of the nodes run each network service beside the firewall."""
        return Counter(
            service
            for each in nodes
            for service in self._states.get(each.key.name).runs
            if service != FIREWALL
        )

    async def resolve(self, node: str | None, *, staged: bool, sight: Sight) -> dict[str, Any]:
        """Return the resolved rules as `hanse resolve` prints them; NotFound (`unknown_node`)."""
        compilation = await self.compilation()
        return await self._run(
            lambda: sight.resolved(partial(self._planner, compilation), node, staged=staged)
        )

    def _planner(self, compilation: Compilation, tenants: Tenants) -> SitePlanner:
        """Return what plans the site of some tenants; called in the executor's one thread."""
        known = self._planners.get(tenants)
        if known is not None and known[0] is compilation:
            self._planners.move_to_end(tenants)
            return known[1]
        planner = narrowed(compilation.planner, tenants)
        self._planners[tenants] = compilation, planner
        while len(self._planners) > _PLANNERS:
            self._planners.popitem(last=False)
        return planner

    async def trace(
        self, packet: Packet, node: str | None, *, staged: bool, sight: Sight
    ) -> dict[str, Any]:
        """Judge one flow: by one node's view, or by every node that has an end of it.

        Without a node, `outcome` is what happens to the flow: it passes if all of `views` allow.
        A flow with no end at a workload of an admitted node is judged by the site's view alone.
        NotFound (`unknown_node`).
        """
        compilation = await self.compilation()
        return await self._run(
            lambda: traced(compilation, self.site, packet, node, staged=staged, sight=sight)
        )

    async def _run(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _upstream(self, position: Position | None, sees: Sees) -> dict[str, Any]:
        async with self._store.snapshot() as snapshot:
            return await upward_answer(self._upward, position, snapshot, sees, clock=self._clock)

    def _node(self, stored: Stored, sight: Sight) -> dict[str, Any]:
        state = self._states.get(stored.key.name)
        newest = self._publications.newest(stored.key.name)
        return {
            "name": stored.key.name,
            "admission": stored.spec.get("admission", "admitted"),
            "wanted": {"generation": newest.generation, "hash": newest.hash} if newest else None,
            "state": _node_state(stored, state, newest),
            **{
                _camel(each.name): getattr(state, each.name)
                for each in fields(state)
                if each.name not in _HIDDEN
            },
            # Free text of a node may speak of anybody's rules.
            **({"message": state.message} if sight.is_whole else {}),
            "services": list(state.runs),
            "connected": state.is_connected(self._clock.now()),
            "policyAge": self._age_at(state, newest),
        }

    def _age_at(self, state: NodeState, newest: Published | None) -> float | None:
        """Return how many seconds ago it was certain that a node enforces the FSM's latest.

        None if it enforces something else than it should, or nobody knows.
        """
        ours = policy_age(self._upward.confirmed(), self._clock)
        if ours is None or newest is None or not state.enforces(newest.hash):
            return None
        if state.last_seen is None:
            return None
        seen = datetime.fromisoformat(state.last_seen)
        return max(ours, round((self._clock.now() - seen).total_seconds(), 3))


def parse_packet(
    source: tuple[int, int],
    destination: tuple[int, int],
    protocol: int,
    port: int,
    source_port: int,
) -> Packet:
    """Return the packet of two parsed addresses; Invalid (`family_mismatch`) if of two families."""
    if source[0] != destination[0]:
        raise Invalid("a flow is between addresses of one family", code="family_mismatch")
    family: Family = 4 if source[0] == 4 else 6
    return Packet(family, source[1], destination[1], protocol, source_port, port)


def _node_state(stored: Stored, state: NodeState, newest: Published | None) -> str:
    admission: str = stored.spec.get("admission", "admitted")
    if admission != "admitted":
        return admission
    if newest is None:
        return "waiting"
    if state.outcome == "nack":
        return "failed"
    if state.is_drifting:
        return "drift"
    return "realised" if state.enforces(newest.hash) else "pending"


def _key_of(record: JSON) -> Key:
    return Key(record["kind"], record["tenant"], record["scope"], record["name"])


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
