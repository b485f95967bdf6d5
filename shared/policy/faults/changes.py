"""Faults of a change rather than of a state: what it takes away from others."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shared.ids import Key
from shared.policy.compile import SitePlanner
from shared.policy.definitions import name_of
from shared.policy.faults.fault import Fault, new_faults
from shared.policy.inherit import has_meaning, is_sealed
from shared.policy.inputs import Document
from shared.policy.plan import Plan, Unresolved
from shared.policy.scopes import Chain


def in_use(
    deleted: Iterable[Document], before: Iterable[Fault], after: Iterable[Fault]
) -> Iterator[Fault]:
    """Yield a fault for each reference that deleting leaves without an object.

    `before` and `after` are the faults of the states around the deletion; of `after` only what
    refers to something deleted is told here.
    """
    gone = {(each.key.kind, each.key.name): each for each in deleted}
    for fault in new_faults(before, after):
        if fault.refers is None or fault.document is None:
            continue
        document = gone.get((fault.refers.kind, fault.refers.name))
        if document is not None:
            message = (
                f"{fault.document.key} names {document.key} ({fault.path}); "
                "change that first, or delete both in one transaction"
            )
            yield Fault(document, "metadata.name", "in_use", message, others=(fault.document,))


def would_unresolve(before: SitePlanner, after: SitePlanner) -> Iterator[Unresolved]:
    """Yield the names that installed rules used before a change and that mean nothing after it.

    Looks at the site's view and at those of the nodes that are there before and after.
    """
    pairs: dict[tuple[Chain, Chain], str | None] = {}
    pairs[_shared(before, None), _shared(after, None)] = None
    for node in after.places.nodes:
        if node in before.places.nodes:
            pairs.setdefault((_shared(before, node), _shared(after, node)), node)
    seen = set()
    for view in pairs.values():
        used = _used(before.plan(view))
        for each in after.plan(view).unresolved:
            place = (each.rule.tenant, each.rule.policy, each.missing.reference)
            if place in used and place not in seen:
                seen.add(place)
                yield each


def _shared(planner: SitePlanner, node: str | None) -> Chain:
    return planner.view(node).chain


def _used(plan: Plan) -> set[tuple[str, str, str]]:
    """Return what installed rules named and had, as (policy's tenant, policy, reference)."""
    return {
        (rule.tenant, rule.policy, name.reference) for rule in plan.rules for name in rule.names
    }


@dataclass(frozen=True, slots=True)
class Hiding:
    """A local definition that hides inherited subnets or entries which a mandatory rule uses.

    Writing one needs the permission `override` and is reported upstream like an exception.
    """

    document: Document
    inherited: Document
    policies: tuple[Key, ...]


def hidings(planner: SitePlanner) -> Iterator[Hiding]:
    """Yield the local Networks and Services that change what inherited mandatory rules mean."""
    used = _used_by_mandatory(planner)
    for document in planner.inputs.local.of_kind("Network", "Service"):
        name = name_of(document.key)
        if not has_meaning(document.spec) or document.key not in used:
            continue
        by_scope = planner.definitions.of(name)
        inherited = [
            by_scope[scope]
            for scope in planner.places.upstream
            if scope in by_scope and has_meaning(by_scope[scope].spec)
        ]
        if inherited and not any(map(is_sealed, inherited)):
            yield Hiding(document, inherited[0], tuple(sorted(used[document.key])))


def _used_by_mandatory(planner: SitePlanner) -> dict[Key, set[Key]]:
    """Return, for each definition that mandatory rules use in some view, those policies."""
    found: dict[Key, set[Key]] = {}
    for node in (None, *(nodes[0] for nodes in planner.distinct_nodes().values())):
        for rule in planner.plan(node).rules:
            if rule.tier == "mandatory" and rule.origin != "override":
                for name in rule.names:
                    found.setdefault(name.effective.document.key, set()).add(rule.document.key)
    return found
