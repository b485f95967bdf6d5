"""`narrow` for an exception whose target has changed: made for one view, and checked in each."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import ValidationError

from shared.ids import SITE
from shared.model.override import Conflict
from shared.model.policy import SecurityPolicy
from shared.policy.compile import POLICY, SitePlanner
from shared.policy.conflicts.exceptions import inherited
from shared.policy.conflicts.outcome import local_key, target_name
from shared.policy.definitions import Exemption, read_exemption
from shared.policy.exceptions import base_of
from shared.policy.inputs import Document
from shared.policy.merging import exempted, keep_what_each_added, merge
from shared.policy.narrowing.exceptions import Narrowing, Versions
from shared.policy.ways.contract import Barred, Step, Terms, Way, applied
from shared.policy.ways.exceptions import kept

JSON = Mapping[str, Any]


def narrowed_exception(
    planner: SitePlanner, conflict: Conflict, proposal: JSON, terms: Terms
) -> Way | Barred:
    name = proposal["name"]
    key, target = local_key(conflict), target_name(conflict)
    document = planner.inputs.local.get(key)
    now = inherited(target, planner)
    exemption = read_exemption(document) if document is not None else None
    if document is None or now is None or exemption is None:
        return Barred(name, "what the conflict is about is gone")
    if target.kind != POLICY:
        return Barred(name, "only policies of rules are narrowed")
    nodes = list(_views(planner, key.scope))
    if not nodes:
        return Barred(name, "no node is where the exception counts")

    def with_spec(spec: JSON) -> SitePlanner:
        way = _way(document, spec, now, Terms())
        return SitePlanner(applied(planner.inputs, way))

    without = Way("acceptGlobal", {}, (Step(key, None),))
    narrowing = Narrowing(
        Versions(
            with_spec(base_of(exemption, now)),
            with_spec(exemption.spec.to_json()),
            SitePlanner(applied(planner.inputs, without)),
        ),
        target,
    )
    merged = _merged(exemption, now)
    if merged is not None and all(narrowing.holds(with_spec(merged), node) for node in nodes):
        return _way(document, merged, now, terms)
    spec = narrowing.spec(
        cast("SecurityPolicy", exemption.spec), cast("SecurityPolicy", now.spec), nodes[0]
    )
    if isinstance(spec, str):
        return Barred(name, spec)
    spec = exempted(spec)
    after = with_spec(spec)
    for node in nodes:
        if not narrowing.holds(after, node):
            where = f"at node {node} " if node else ""
            return Barred(name, f"{where}no rules in the policy's place decide just these packets")
    return _way(document, spec, now, terms)


def _merged(exemption: Exemption, now: Document) -> JSON | None:
    """Return what a merge gives that keeps of each list what each side added, in the words and the
    order of both; None if that is nothing of the site's own, or no policy.

    It often is just what is to be left, and then it reads best.
    """
    inherited = exempted(now.spec.to_json())
    local = exempted(exemption.spec.to_json())
    spec = merge(base_of(exemption, now), local, inherited, settle=keep_what_each_added).spec
    if spec == inherited:
        return None
    try:
        read = SecurityPolicy.model_validate(spec)
    except ValidationError:
        return None
    return exempted(read.to_json())


def _views(planner: SitePlanner, scope: str) -> Iterator[str | None]:
    """Yield each view in which an exception of a scope counts, the site's own first."""
    if scope == SITE:
        yield None
    for nodes in planner.distinct_nodes().values():
        if scope in planner.places.chain(nodes[0]):
            yield nodes[0]


def _way(document: Document, spec: JSON, now: Document, terms: Terms) -> Way:
    said = {each: value for each, value in document.spec.to_json().items() if each != "basedOn"}
    return kept("narrow", document, {**said, "spec": dict(spec)}, now, terms)
