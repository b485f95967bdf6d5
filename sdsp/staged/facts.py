"""Which policies are staged at a site, and which rule each count of a node is of.  Pure."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson

from shared.ids import Key
from shared.model.override import Override
from shared.model.policy import SecurityPolicy
from shared.policy.compile import POLICY, SitePlanner
from shared.policy.inputs import Document
from shared.policy.nodeconfig import rule_id
from shared.policy.plan import Plan


class PolicyName(NamedTuple):
    """A policy as its rules carry it: staged policies and exceptions of one name go together."""

    tenant: str
    name: str


@dataclass(frozen=True, slots=True)
class StagedPolicy:
    """A policy that would be enforced otherwise if what is staged were.

    `objects` are the staged ones, `content` tells their present text from any other.
    """

    objects: tuple[Key, ...]
    labels: Mapping[Key, Mapping[str, str]] = field(hash=False)
    content: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StagedFacts:
    """What is staged in any view of the site; `rules` are by the id that nodes count for."""

    policies: Mapping[PolicyName, StagedPolicy] = field(default_factory=dict)
    rules: Mapping[str, tuple[PolicyName, str]] = field(default_factory=dict)


NOTHING: Final = StagedFacts()


def staged_facts(planner: SitePlanner) -> StagedFacts:
    """Return what is staged at a site; that costs next to nothing where nothing is."""
    if not any(_says_staged(each) for each in planner.inputs):
        return NOTHING
    sources: dict[PolicyName, dict[Key, Document]] = {}
    plans = list(_plans(planner))
    for plan in plans:
        for policy in plan.policies:
            effective = policy.effective
            if isinstance(effective.spec, SecurityPolicy) and effective.spec.stage == "staged":
                name = PolicyName(policy.tenant, policy.name)
                sources.setdefault(name, {})[effective.source.key] = effective.source
    rules: dict[str, tuple[PolicyName, str]] = {}
    for plan in plans:
        for policy in plan.policies:
            name = PolicyName(policy.tenant, policy.name)
            if name in sources:
                for rule in policy.rules:
                    number = rule_id(rule.tier, rule.tenant, rule.policy, rule.rule, rule.origin)
                    rules[number] = name, rule.rule
    named: dict[PolicyName, dict[str, None]] = {}
    for name, rule_name in rules.values():
        named.setdefault(name, {})[rule_name] = None
    return StagedFacts(
        {
            name: _policy(documents, tuple(named.get(name, ())))
            for name, documents in sorted(sources.items())
        },
        rules,
    )


def _policy(documents: Mapping[Key, Document], rules: tuple[str, ...]) -> StagedPolicy:
    ordered = sorted(documents.items())
    text = orjson.dumps([[str(key), each.spec.to_json()] for key, each in ordered])
    return StagedPolicy(
        objects=tuple(key for key, _ in ordered),
        labels={key: each.labels for key, each in ordered},
        content=hashlib.sha256(text).hexdigest(),
        rules=rules,
    )


def _plans(planner: SitePlanner) -> Iterator[Plan]:
    """Yield every view's plan, first as it would be: its rules are named first then."""
    views = [None, *(nodes[0] for nodes in planner.distinct_nodes().values())]
    for staged in (True, False):
        for node in views:
            yield planner.plan(node, staged=staged)


def _says_staged(document: Document) -> bool:
    spec = document.spec
    if isinstance(spec, Override):
        return bool(spec.spec.get("stage") == "staged")
    return (
        document.key.kind == POLICY and isinstance(spec, SecurityPolicy) and spec.stage == "staged"
    )
