"""How `trace` tells of a flow that a balancer leads to a backend."""

from collections.abc import Iterator, Mapping
from typing import Any

from shared.ids import COMMON

JSON = Mapping[str, Any]


def balanced_lines(answer: JSON) -> Iterator[str]:
    """Yield what a person reads of it; nothing for a flow that goes where it was sent."""
    balanced = answer.get("balanced")
    if balanced is None:
        return
    if balanced["balancer"] is None:
        yield "A load balancer that you may not see leads it elsewhere."
        return
    tenant = "" if balanced["tenant"] == COMMON else f" of tenant {balanced['tenant']}"
    named = f"LoadBalancer {balanced['balancer']}{tenant}"
    backends, chosen = balanced["backends"], balanced["chosen"]
    count, node = balanced.get("count", len(backends)), _node(balanced)
    if not count:
        yield f"{named} has no backend for it: {node} rejects it."
        return
    how = "at random" if balanced["algorithm"] == "random" else "by hash"
    this = f", for this client {_end(chosen)}" if chosen is not None else ""
    many = f"one of {count} backends" if count > 1 else "its only backend"
    yield f"{named}: {node} leads it to {many}, {how}{this}."
    for each in backends:
        verdict = each.get("outcome") or each.get("verdict")
        mark = " (this one)" if chosen is not None and _end(each) == _end(chosen) else ""
        yield f"  {_end(each)}: {verdict}{mark}"
    if len(backends) < count:
        yield f"  {count - len(backends)} that you may not see"


def _node(balanced: JSON) -> str:
    return "the client's node" if balanced["node"] is None else f"node {balanced['node']}"


def _end(end: JSON) -> str:
    address = f"[{end['to']}]" if ":" in end["to"] else end["to"]
    return f"{address}:{end['port']}"
