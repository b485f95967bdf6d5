"""What a site knows of itself: status, resolved rules, verdicts, and what it holds.

Who asks sees what belongs to his tenants only; nodes belong to none, and everybody sees them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from typing import Any, Final, cast

from sdsp.compile.compiler import Compilation
from sdsp.compile.nodes import Published
from sdsp.nodes.publication import Publications
from sdsp.nodes.states import NodeState, NodeStates
from sdsp.realisation import for_people
from sdsp.site.sight import Sight
from sdsp.status import NodeStanding, PolicyStatus, policy_statuses
from sdsp.steady import SteadyTime
from sdsp.upstream.apply import INHERITED, held_in, position_in, refused_in
from shared.algebra.cidrs import Family
from shared.backup.answers import backups_json, upward_json
from shared.backup.standing import Task, states_in
from shared.clock import Clock
from shared.errors import Invalid, Unavailable
from shared.feed.connect import Link
from shared.feed.wire import Position
from shared.ids import COMMON, Key
from shared.login.glass import answer_of, glass_in, upward_of
from shared.model.inventory import Workload
from shared.pki.alarm import Expiring
from shared.policy.compile import SitePlanner
from shared.policy.nodeconfig import Packet
from shared.policy.nodeplan import unenforced
from shared.policy.verdict import judge
from shared.store.contract import Selection, Store, Stored
from shared.telemetry.journal import recent_events

JSON = Mapping[str, Any]

_NODES: Final = Selection(kinds=frozenset({"Node"}))
_HIDDEN: Final = frozenset({"counters", "connected", "message", "roots"})

# Of the newest state of the site; tenants whose people ask at one time.
_SIGHTS: Final = 8


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store says of how the site stands, at one moment."""

    position: Position | None
    held: Sequence[JSON]
    refused: Sequence[JSON]
    inherited: Mapping[str, JSON]
    nodes: Sequence[Stored]


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
        link: Callable[[], Link | None],
        time: SteadyTime,
        clock: Clock,
        executor: Executor,
        backups: Callable[[], Sequence[Task] | None] = lambda: None,
    ) -> None:
        """`newest` is the last review of the site, `up_to_date` one of what was compiled last.
        `executor` has one thread, in which verdicts are worked out.  `backups` returns those that
        are wanted.
        """
        self.site = site
        self._store = store
        self._newest = newest
        self._up_to_date = up_to_date
        self._publications = publications
        self._states = states
        self._link = link
        self._time = time
        self._clock = clock
        self._executor = executor
        self._backups = backups
        self.expiring: Callable[[], Sequence[Expiring]] = tuple
        """Returns those of the site's certificates that expire soon and have no successor."""
        self._sights: OrderedDict[Sight, tuple[Compilation, SitePlanner]] = OrderedDict()

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

    async def standing(self) -> Standing:
        async with self._store.snapshot() as snapshot:
            return Standing(
                position=await position_in(snapshot),
                held=await held_in(snapshot),
                refused=await refused_in(snapshot),
                inherited=await snapshot.records(INHERITED),
                nodes=await snapshot.list(_NODES),
            )

    async def status(self, is_visible: Sight) -> dict[str, Any]:
        """Return how the site stands: upstream, policies, nodes, what is held or was refused."""
        standing = await self.standing()
        newest = self._newest()
        policies = self.realisation(newest, standing.held) if newest else []
        waiting = unenforced(newest.planner) if newest else ()
        return {
            "site": self.site,
            "upstream": self._upstream(standing.position),
            "revision": newest.revision if newest else None,
            "clockLeapt": self._time.has_leapt,
            "policies": for_people(each for each in policies if is_visible(each.key.tenant)),
            "nodes": [self._node(each, is_visible) for each in standing.nodes],
            "unenforced": [each.key.name for each in waiting if is_visible(each.key.tenant)],
            "held": [each for each in standing.held if is_visible(each["tenant"])],
            "refused": [each for each in standing.refused if is_visible(each["tenant"])],
            # Both are the server's own affairs.
            **(await self._affairs() if is_visible(COMMON) else {}),
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

    def realisation(self, newest: Compilation, held: Sequence[JSON]) -> list[PolicyStatus]:
        """Return what became of each policy that was compiled."""
        nodes: dict[str, NodeStanding] = {}
        for name in newest.planner.places.nodes:
            wanted = self._publications.newest(name)
            if wanted is not None:
                state = self._states.get(name)
                earlier = self._publications.earlier(name, state.hash)
                nodes[name] = NodeStanding(wanted, state, earlier)
        keys = (Key(each["kind"], each["tenant"], each["scope"], each["name"]) for each in held)
        return policy_statuses(newest.policies, nodes, held=frozenset(keys))

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

    async def resolve(self, node: str | None, *, staged: bool, is_visible: Sight) -> dict[str, Any]:
        """Return the resolved rules as `hanse resolve` prints them; NotFound (`unknown_node`)."""
        compilation = await self.compilation()

        def work() -> dict[str, Any]:
            planner = self._planner(compilation, is_visible)
            return is_visible.resolved(planner, node, staged=staged)

        return await self._run(work)

    def _planner(self, compilation: Compilation, sight: Sight) -> SitePlanner:
        """Return what plans the site as somebody sees it; called in the executor's one thread."""
        known = self._sights.get(sight)
        if known is not None and known[0] is compilation:
            self._sights.move_to_end(sight)
            return known[1]
        planner = sight.planner(compilation.planner)
        self._sights[sight] = compilation, planner
        while len(self._sights) > _SIGHTS:
            self._sights.popitem(last=False)
        return planner

    async def trace(
        self, packet: Packet, node: str | None, *, staged: bool, is_visible: Sight
    ) -> dict[str, Any]:
        """Judge one flow: by one node's view, or by every node that has an end of it.

        Without a node, `outcome` is what happens to the flow: it passes if all of `views` allow.
        A flow with no end at a workload of an admitted node is judged by the site's view alone.
        NotFound (`unknown_node`).
        """
        compilation = await self.compilation()
        return await self._run(
            lambda: _traced(
                compilation, self.site, packet, node, staged=staged, is_visible=is_visible
            )
        )

    async def _run(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _upstream(self, position: Position | None) -> dict[str, Any]:
        link = self._link()
        return {
            "connected": link.connected if link else False,
            "since": link.since.isoformat() if link and link.since else None,
            "heardAt": link.heard_at.isoformat() if link and link.heard_at else None,
            "error": link.error if link else "not_joined",
            "position": position.to_json() if position else None,
        }

    def _node(self, stored: Stored, is_visible: Sight) -> dict[str, Any]:
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
            **({"message": state.message} if is_visible.is_whole else {}),
            "connected": state.is_connected(self._clock.now()),
        }


def _traced(
    compilation: Compilation,
    site: str,
    packet: Packet,
    node: str | None,
    *,
    staged: bool,
    is_visible: Sight,
) -> dict[str, Any]:
    planner = compilation.planner
    ends = {} if node is not None else _nodes_of(compilation, packet)
    names = [node] if node is not None else list(ends)
    views = {name: judge(planner.plan(name, staged=staged), packet) for name in names}
    view = views[node] if node is not None else judge(planner.plan(staged=staged), packet)
    verdicts = [story.decision.verdict for story in views.values()] or [view.decision.verdict]
    outcome = next((each for each in verdicts if each != "allow"), "allow")
    return {
        "site": site,
        "outcome": outcome,
        "view": is_visible.story(view),
        # Which node an address is at, those know who may know of the workload.
        "views": {
            name: is_visible.story(story)
            for name, story in views.items()
            if name == node or any(tenant == COMMON or is_visible(tenant) for tenant in ends[name])
        },
    }


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


def _nodes_of(compilation: Compilation, packet: Packet) -> dict[str, set[str]]:
    """Return the admitted nodes that enforce for an end of the flow, in name order, each with
    the tenants of its workloads there.
    """
    planner = compilation.planner
    ends = {packet.source, packet.destination}
    found: dict[str, set[str]] = {}
    for document in planner.workloads.documents:
        workload = cast("Workload", document.spec)
        for address in workload.addresses:
            if (
                workload.node is not None
                and address.version == packet.family
                and int(address) in ends
            ):
                found.setdefault(workload.node, set()).add(document.key.tenant)
    nodes = planner.places.nodes.items()
    return {
        name: found[name] for name, node in nodes if name in found and node.admission == "admitted"
    }


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


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
