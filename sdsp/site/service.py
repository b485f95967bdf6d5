"""What a site knows of itself: status, resolved rules, verdicts, and what it holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sdsp.compile.compiler import Compilation
from sdsp.nodes.publication import Publications, Published
from sdsp.nodes.states import NodeState, NodeStates
from sdsp.realisation import for_people, realisation
from sdsp.status import PolicyStatus
from sdsp.upstream.apply import INHERITED, Inbound
from shared.algebra.cidrs import Family, parse_cidrs
from shared.clock import Clock
from shared.errors import Invalid, Unavailable
from shared.feed.connect import Link
from shared.ids import Key
from shared.policy.nodeconfig import Packet
from shared.policy.nodeplan import unenforced
from shared.policy.verdict import Story, judge
from shared.store.contract import Selection, Store, Stored

_NODES: Final = Selection(kinds=frozenset({"Node"}))


class SiteView:
    """Answers from the newest compilation; asks nobody else."""

    def __init__(
        self,
        *,
        site: str,
        store: Store,
        newest: Callable[[], Compilation | None],
        publications: Publications,
        states: NodeStates,
        inbound: Inbound,
        link: Callable[[], Link | None],
        clock: Clock,
    ) -> None:
        self.site = site
        self._store = store
        self._newest = newest
        self._publications = publications
        self._states = states
        self._inbound = inbound
        self._link = link
        self._clock = clock

    def compilation(self) -> Compilation:
        """Return the newest; Unavailable (`not_compiled`) before the FSM was heard."""
        newest = self._newest()
        if newest is None:
            raise Unavailable(
                f"site {self.site} has not received its policy yet; `hanse status` says whether it "
                "is connected to the FSM",
                code="not_compiled",
            )
        return newest

    async def status(self) -> dict[str, Any]:
        """Return how the site stands: upstream, policies, nodes, what is held."""
        position = await self._inbound.position()
        held = await self._inbound.held()
        newest = self._newest()
        nodes = await self._nodes()
        link = self._link()
        return {
            "site": self.site,
            "upstream": {
                "connected": link.connected if link else False,
                "since": link.since.isoformat() if link and link.since else None,
                "heardAt": link.heard_at.isoformat() if link and link.heard_at else None,
                "error": link.error if link else "not_joined",
                "position": position.to_json() if position else None,
            },
            "revision": newest.revision if newest else None,
            "policies": for_people(self.realisation(newest, held)) if newest else [],
            "nodes": [self._node(each) for each in nodes],
            "unenforced": [each.key.name for each in unenforced(newest.planner)] if newest else [],
            "held": list(held),
        }

    def realisation(
        self, newest: Compilation, held: Sequence[Mapping[str, Any]]
    ) -> list[PolicyStatus]:
        published = self.published(newest)
        return realisation(
            newest,
            published=published,
            states={name: self._states.get(name) for name in published},
            held=frozenset(
                Key(each["kind"], each["tenant"], each["scope"], each["name"]) for each in held
            ),
        )

    async def inherited(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the FSM's own revision and generation of what was inherited, by record_name()."""
        async with self._store.snapshot() as snapshot:
            return await snapshot.records(INHERITED)

    def published(self, newest: Compilation) -> dict[str, Published]:
        found = {name: self._publications.newest(name) for name in newest.configurations}
        return {name: each for name, each in found.items() if each is not None}

    def resolve(self, node: str | None, *, staged: bool) -> dict[str, Any]:
        """Return the resolved rules as `hanse resolve` prints them; NotFound (`unknown_node`)."""
        plan = self.compilation().planner.plan(node, staged=staged)
        return plan.to_json()

    def trace(self, packet: Packet, node: str | None, *, staged: bool) -> dict[str, Any]:
        """Judge one flow: by one node's view, or by every node that has an end of it.

        Without a node, `outcome` is what happens to the flow: it passes if all of `views` allow.
        A flow with no end at a workload of an admitted node is judged by the site's view alone.
        """
        compilation = self.compilation()
        if node is not None:
            views = {node: judge(compilation.planner.plan(node, staged=staged), packet)}
        else:
            names = _nodes_of(compilation, packet)
            views = {
                name: judge(compilation.planner.plan(name, staged=staged), packet) for name in names
            }
        site = judge(compilation.planner.plan(staged=staged), packet)
        stories = list(views.values()) or [site]
        verdicts = [story.decision.verdict for story in stories]
        outcome = next((each for each in verdicts if each != "allow"), "allow")
        return {
            "site": self.site,
            "outcome": outcome,
            "view": story_json(views[node] if node is not None else site),
            "views": {name: story_json(story) for name, story in views.items()},
        }

    async def _nodes(self) -> Sequence[Stored]:
        async with self._store.snapshot() as snapshot:
            return await snapshot.list(_NODES)

    def _node(self, stored: Stored) -> dict[str, Any]:
        state = self._states.get(stored.key.name)
        newest = self._publications.newest(stored.key.name)
        shown = asdict(state)
        del shown["counters"]
        return {
            "name": stored.key.name,
            "admission": stored.spec.get("admission", "admitted"),
            "wanted": {"generation": newest.generation, "hash": newest.hash} if newest else None,
            "state": _node_state(stored, state, newest),
            **{_camel(name): value for name, value in shown.items()},
            "connected": state.is_connected(self._clock.now()),
        }


def story_json(story: Story) -> dict[str, Any]:
    """Return a judgement with every rule that was looked at, in order."""
    decision = story.decision
    return {
        "verdict": decision.verdict,
        "tier": decision.tier,
        "policy": decision.rule.policy if decision.rule else None,
        "tenant": decision.rule.tenant if decision.rule else None,
        "rule": decision.rule.rule if decision.rule else None,
        "origin": decision.rule.origin if decision.rule else None,
        "steps": [
            {
                "tier": step.rule.tier,
                "policy": step.rule.policy,
                "tenant": step.rule.tenant,
                "rule": step.rule.rule,
                "origin": step.rule.origin,
                "action": step.rule.action,
                "matched": step.matched,
                "reason": step.reason,
                "names": [
                    {"reference": name.reference, "tenant": name.tenant, "scope": name.scope}
                    for name in step.rule.names
                ],
            }
            for step in story.steps
        ],
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


def _nodes_of(compilation: Compilation, packet: Packet) -> list[str]:
    """Return the nodes that enforce for an end of the flow."""
    return [
        name
        for name, configuration in compilation.configurations.items()
        if any(
            parse_cidrs(configuration.addresses).contains(packet.family, end)
            for end in (packet.source, packet.destination)
        )
    ]


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
