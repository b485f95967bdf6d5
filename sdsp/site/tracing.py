"""One flow's verdict: by one node's view, or by every node that has an end of it.

A flow to a virtual address is judged as the client's node leads it on.  Whoever asks is told of
the balancer and of backends as far as he may know of them; of others only what becomes of the flow.
"""

from typing import Any, cast

from sdsp.compile.compiler import Compilation
from sdsp.site.sight import Sight
from shared.model.inventory import Workload
from shared.policy.inputs import Document
from shared.policy.leading import UNSERVED, Led, backend_json
from shared.policy.nodeconfig import Packet
from shared.policy.verdict import judge


def traced(
    compilation: Compilation,
    site: str,
    packet: Packet,
    node: str | None,
    *,
    staged: bool,
    sight: Sight,
) -> dict[str, Any]:
    """Return what becomes of a flow; NotFound (`unknown_node`)."""
    sight.check_node(compilation.planner.inputs, node)
    led = compilation.leading.lead(packet, node)

    def judged(packet: Packet) -> dict[str, Any]:
        return _judged(compilation, site, packet, node, staged=staged, sight=sight)

    if led is None:
        return judged(packet)
    answers = {each: judged(each) for each in led.packets}
    told = next((each for each in led.likely if answers[each]["outcome"] != "allow"), None)
    told = told or next(iter(led.likely), None)
    if told is None:
        answer = _bare(site, UNSERVED.verdict, UNSERVED.tier)
    elif _knows_end(compilation, told, sight):
        answer = answers[told]
    else:
        # A story says of which addresses it is.
        answer = _bare(site, answers[told]["outcome"], answers[told]["view"]["tier"])
    return {**answer, "balanced": _balanced(compilation, led, answers, sight=sight)}


def _balanced(
    compilation: Compilation, led: Led, answers: dict[Packet, dict[str, Any]], *, sight: Sight
) -> dict[str, Any]:
    if not sight.sees(led.document):
        return {"balancer": None}
    known = [each for each in led.packets if _knows_end(compilation, each, sight)]
    hidden: dict[str, Any] = {}
    if not sight.is_whole and led.node not in {
        name for each in answers.values() for name in each["views"]
    }:
        hidden["node"] = None
    if led.chosen is not None and led.chosen not in known:
        hidden["chosen"] = None
    return {
        **led.to_json(),
        **hidden,
        "count": len(led.packets),
        "backends": [{**backend_json(each), "outcome": answers[each]["outcome"]} for each in known],
    }


def _knows_end(compilation: Compilation, packet: Packet, sight: Sight) -> bool:
    """Return whether he may know of a workload that a flow is led to."""
    return sight.is_whole or any(
        sight.knows_of(document)
        for document in compilation.planner.workloads.documents
        if any(
            address.version == packet.family and int(address) == packet.destination
            for address in cast("Workload", document.spec).addresses
        )
    )


def _bare(site: str, outcome: str, tier: str) -> dict[str, Any]:
    """Return an outcome without a story: no rule was asked, or which ones isn't told."""
    nobody = dict.fromkeys(("policy", "tenant", "rule", "origin"))
    view: dict[str, Any] = {"verdict": outcome, "tier": tier, **nobody, "steps": []}
    return {"site": site, "outcome": outcome, "view": view, "views": {}}


def _judged(
    compilation: Compilation,
    site: str,
    packet: Packet,
    node: str | None,
    *,
    staged: bool,
    sight: Sight,
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
        "view": sight.story(view),
        # Which node an address is at, those know who may know of the workload.
        "views": {
            name: sight.story(story)
            for name, story in views.items()
            if name == node or any(map(sight.knows_of, ends[name]))
        },
    }


def _nodes_of(compilation: Compilation, packet: Packet) -> dict[str, list[Document]]:
    """Return the admitted nodes that enforce for an end of the flow, in name order, each with
    its workloads there.
    """
    planner = compilation.planner
    ends = {packet.source, packet.destination}
    found: dict[str, list[Document]] = {}
    for document in planner.workloads.documents:
        workload = cast("Workload", document.spec)
        for address in workload.addresses:
            if (
                workload.node is not None
                and address.version == packet.family
                and int(address) in ends
            ):
                found.setdefault(workload.node, []).append(document)
    nodes = planner.places.nodes.items()
    return {
        name: found[name] for name, node in nodes if name in found and node.admission == "admitted"
    }
