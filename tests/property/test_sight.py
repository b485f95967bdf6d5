"""What somebody sees of a site whose permission doesn't reach everything: exactly what it reaches.

The oracle filters the answers that the whole site gives, object by object, by authorize().
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given

from sdsp.site.sight import Sight, Tenants, narrowed, rests_on
from shared.access.authorize import authorize
from shared.access.book import canonical_selector
from shared.access.permissions import Permission
from shared.access.reach import Place, Reach, reach_of
from shared.auth.identity import Caller, CallerKind, Grant
from shared.errors import NotFound
from shared.ids import COMMON, Key
from shared.model.kinds import KINDS
from shared.model.selectors import Selector
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, SiteInputs
from shared.policy.plan import name_json, rule_json
from shared.policy.verdict import judge
from tests.property import oracle
from tests.property.borders import flows, views
from tests.property.generated_documents import LABELS as VALUES
from tests.property.generated_documents import NODES, NOW, SITE
from tests.property.generators import rolled_world, worlds
from tests.property.oracle_inheritance import Asking, World
from tests.property.planner_worlds import packet, site_inputs
from tests.property.profile import rolls

RIVAL = "zqrival"
LABELS = {"env": "prod", "tier": "web", "app": "a", "zone": "core"}
MARK = "zqhidden"
HIDDEN = {"zqlabel": "zqvalue"}


@given(world=worlds())
def test_ones_own_rules_are_the_sites_own(world: World) -> None:
    assert_own_rules(world)


@given(world=worlds())
def test_another_tenants_objects_change_nothing(world: World) -> None:
    assert_no_influence(world)


@given(world=worlds())
def test_by_labels_one_sees_what_who_sees_everything_sees_of_such_objects(world: World) -> None:
    assert_filtered(world, Random(0))


@given(world=worlds())
def test_what_has_other_labels_is_named_by_no_answer(world: World) -> None:
    assert_no_mark(world, Random(0))


def test_worlds_by_dice_are_seen_alike() -> None:
    own = shown = hidden = 0
    for seed in rolls(60):
        world = rolled_world(seed)
        own += assert_own_rules(world)
        assert_no_influence(world)
        found = assert_filtered(world, Random(seed))
        shown, hidden = shown + found[0], hidden + found[1]
        assert_no_mark(world, Random(seed))
    assert own > 50, "tenants' rules were met"
    assert shown > 500, "rules were seen by their policies' labels"
    assert hidden > 500, "rules were not seen for their policies' labels"


def in_tenants(*tenants: str) -> Sight:
    return Sight(Reach((Place(frozenset(tenants)),)))


class Planners:
    """What plans one site for each set of tenants, made once."""

    def __init__(self, inputs: SiteInputs) -> None:
        self.whole = SitePlanner(inputs)
        self._known: dict[Tenants, SitePlanner] = {}

    def __call__(self, tenants: Tenants) -> SitePlanner:
        if tenants not in self._known:
            self._known[tenants] = narrowed(self.whole, tenants)
        return self._known[tenants]


def resolved(sight: Sight, planners: Planners, asking: Asking | None = None) -> dict[str, Any]:
    node, staged = (asking.node, asking.staged) if asking else (None, False)
    return sight.resolved(planners, node, staged=staged)


def sights(inputs: SiteInputs) -> list[Sight]:
    tenants = sorted({document.key.tenant for document in inputs} - {COMMON})
    return [
        in_tenants(*seen)
        for tenant in [*tenants, "nobody"]
        for seen in ((tenant,), (tenant, COMMON))
    ]


def assert_own_rules(world: World) -> int:
    """Return how many rules of tenants were compared with the whole site's."""
    inputs = site_inputs(world, SITE, NOW)
    planners, compared = Planners(inputs), 0
    for sight in sights(inputs):
        tenants = sight.reach.tenants
        assert tenants is not None
        own = tenants - {COMMON}
        for asking in asked(world, inputs):
            everything = planners.whole.plan(asking.node, staged=asking.staged).to_json()
            found = resolved(sight, planners, asking)
            positions = [rule["position"] for rule in found["rules"]]
            assert positions == list(range(1, len(positions) + 1))
            for part in ("rules", "unresolved"):
                assert of(own, found[part]) == of(own, everything[part])
                assert {each["tenant"] for each in found[part]} <= tenants
            for rule in found["rules"]:
                assert {name["tenant"] for name in rule["names"]} <= tenants | {COMMON}
            compared += len(of(own, found["rules"]))
    return compared


def asked(world: World, inputs: SiteInputs) -> Iterator[Asking]:
    """Yield the ways to ask, of nodes that are there."""
    nodes = {each.key.name for each in inputs.local.of_kind("Node")}
    return (each for each in views(world) if each.node is None or each.node in nodes)


def of(tenants: frozenset[str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name != "position"}
        for row in rows
        if row["tenant"] in tenants
    ]


def assert_no_influence(world: World) -> None:
    inputs = site_inputs(world, SITE, NOW)
    more = SiteInputs(
        inputs.site,
        inputs.federation.changed(put=[rivals("Network", "federation", subnets=["198.18.0.0/16"])]),
        inputs.local.changed(put=[*locally()]),
        inputs.now,
    )
    before, after = Planners(inputs), Planners(more)
    for sight in sights(inputs):
        for asking in asked(world, inputs):
            told = [resolved(sight, each, asking) for each in (before, after)]
            assert told[0] == told[1]


def locally() -> list[Document]:
    rule = {"name": "r", "from": [{"networks": {}}], "to": "any", "action": "deny"}
    return [
        rivals("Network", "site", name="near", subnets=["198.19.0.0/24"]),
        rivals("Workload", "site", addresses=["198.19.0.7"]),
        rivals("SecurityPolicy", "site", rules=[rule], priority=100),
    ]


def rivals(kind: str, scope: str, name: str = "zq", **spec: Any) -> Document:
    return document(Key(kind, RIVAL, scope, name), LABELS, **spec)


def document(key: Key, labels: dict[str, str], **spec: Any) -> Document:
    return Document(key, KINDS[key.kind].spec.model_validate(spec), labels)


def held(
    tenants: Iterable[str] | None = None,
    scopes: Iterable[str] | None = None,
    selector: dict[str, Any] | None = None,
) -> Grant:
    meant = Selector.model_validate(selector or {})
    text = canonical_selector(meant)
    return Grant(
        "r",
        frozenset({Permission.TRACE}),
        None if tenants is None else frozenset(tenants),
        None if scopes is None else frozenset(scopes),
        text,
        meant.matches if text else None,
    )


def holders(dice: Random, tenants: list[str]) -> Iterator[Caller]:
    """Yield people with one grant or several, of all the ways in which they can be bound."""
    selectors: list[dict[str, Any]] = [
        {"matchLabels": {key: value}} for key, values in VALUES.items() for value in values
    ]
    selectors += [
        {"matchExpressions": [{"key": key, "operator": operator}]}
        for key, operator in product(VALUES, ("Exists", "DoesNotExist"))
    ]

    def grant(*, bound: bool) -> Grant:
        some = dice.choice([None, [COMMON], [dice.choice(tenants)], [COMMON, dice.choice(tenants)]])
        scopes = dice.choice([None, None, ["federation"], ["site"], ["federation", "site"]])
        return held(some, scopes, dice.choice(selectors) if bound else None)

    yield caller(held(selector=dice.choice(selectors)))
    yield caller(held([COMMON], selector=dice.choice(selectors)), held([dice.choice(tenants)]))
    yield caller(grant(bound=True))
    yield caller(grant(bound=True), grant(bound=True))
    yield caller(grant(bound=True), grant(bound=False))
    yield caller(grant(bound=False))


def caller(*grants: Grant) -> Caller:
    return Caller(CallerKind.PERSON, "user:kim", "Kim", grants=grants)


def may_see(who: Caller, what: Document) -> bool:
    key = what.key
    return authorize(
        who, Permission.TRACE, tenant=key.tenant, scope=key.scope, labels=what.labels
    ).allowed


def assert_filtered(world: World, dice: Random) -> tuple[int, int]:
    """Return how many rules were seen and how many were not."""
    inputs = site_inputs(world, SITE, NOW)
    planners = Planners(inputs)
    told_of = flows(dice, world, oracle.view(Asking(world, SITE, None, NOW, False)), 8)
    tenants = sorted({each.key.tenant for each in inputs} - {COMMON}) or ["nobody"]
    shown = hidden = 0
    for who in holders(dice, tenants):
        sight = Sight(reach_of(who, Permission.TRACE))
        for asking in asked(world, inputs):
            node = asking.node
            if node is not None and not sees_node(who, inputs, node):
                with pytest.raises(NotFound) as refused:
                    resolved(sight, planners, asking)
                with pytest.raises(NotFound) as absent:
                    planners.whole.plan("nowhere")
                assert str(refused.value).replace(node, "nowhere") == str(absent.value)
                continue
            found = resolved(sight, planners, asking)
            expected, left_out = filtered(who, planners, asking)
            assert found == expected
            shown, hidden = shown + len(found["rules"]), hidden + left_out
        for flow in told_of:
            assert_told(who, sight, planners.whole, flow)
    return shown, hidden


def sees_node(who: Caller, inputs: SiteInputs, node: str) -> bool:
    found = inputs.local.get(Key("Node", COMMON, "site", node))
    assert found is not None
    return any(each.labels is None or each.labels(found.labels) for each in who.grants)


def filtered(who: Caller, planners: Planners, asking: Asking) -> tuple[dict[str, Any], int]:
    """Return what is to be told, from plans of all that each grant's tenants have."""
    plan = planners.whole.plan(asking.node, staged=asking.staged)
    rules: list[dict[str, Any]] = []
    unresolved: list[dict[str, Any]] = []
    left_out = 0
    for policy in plan.policies:
        target = policy.effective.document
        if not may_see(who, target):
            left_out += sum(1 for rule in policy.rules if rule.empty is None)
            continue
        grants = [each for each in who.grants if may_see(caller(each), target)]
        # Of common's rules: whose addresses belong to what he is shown.
        counting = [*grants, *(e for e in who.grants if e.labels is None and e.scopes is None)]
        reached: Tenants = frozenset()
        for each in counting:
            reached = None if reached is None or each.tenants is None else reached | each.tenants
        again = planners(reached).plan(asking.node, staged=asking.staged)
        (same,) = [
            each
            for each in again.policies
            if each.effective.document.key == target.key and each.tier == policy.tier
        ]
        unbound = [each for each in who.grants if each.labels is None]
        for rule in same.rules:
            names = [
                name_json(name)
                for name in rule.names
                if may_see(who, name.effective.document)
                or (
                    any(each.labels is None for each in grants)
                    and (
                        name.tenant == COMMON
                        or any(e.tenants is None or name.tenant in e.tenants for e in unbound)
                    )
                )
            ]
            if rule.empty is None:
                rules.append(rule_json(rule, len(rules) + 1) | {"names": names})
            unresolved += [
                {
                    "policy": policy.name,
                    "tenant": policy.tenant,
                    "rule": rule.rule,
                    "side": missing.side,
                    "reference": missing.reference,
                }
                for missing in rule.missing
            ]
    told = {
        "site": SITE,
        "node": asking.node,
        "defaultAction": plan.default_action,
        "rules": rules,
        "unresolved": unresolved,
        "suspended": [str(each.key) for each in plan.suspended if may_see(who, each)],
    }
    return told, left_out


def assert_told(who: Caller, sight: Sight, whole: SitePlanner, flow: dict[str, Any]) -> None:
    story = judge(whole.plan(), packet(flow))
    everything, told = Sight().story(story), sight.story(story)
    seen = [
        place
        for place, step in enumerate(story.steps)
        if may_see(who, step.policy.effective.document)
    ]
    steps = [everything["steps"][place] for place in seen]
    assert [each | {"names": []} for each in told["steps"]] == [
        each | {"names": []} for each in steps
    ]
    for mine, all_of_them in zip(told["steps"], steps, strict=True):
        assert [each for each in all_of_them["names"] if each in mine["names"]] == mine["names"]
    assert (told["verdict"], told["tier"]) == (everything["verdict"], everything["tier"])
    deciding = ("policy", "tenant", "rule", "origin")
    decides = any(
        story.steps[place].rule is story.decision.rule and story.steps[place].matched
        for place in seen
    )
    for part in deciding:
        assert told[part] == (everything[part] if decides else None)


def assert_no_mark(world: World, dice: Random) -> None:
    """Whatever has other labels, of whatever kind and wherever, is named by no answer."""
    inputs = site_inputs(world, SITE, NOW)
    rule = {
        "name": MARK,
        "from": [{"network": MARK}, {"networks": {}}],
        "to": "any",
        "action": dice.choice(["deny", "allow", "pass"]),
    }
    missing = {**rule, "from": [{"network": f"{MARK}-none"}]}
    tenants = [COMMON, *sorted({each.key.tenant for each in inputs} - {COMMON})]
    policy = {"rules": [rule, {**missing, "name": f"{MARK}2"}]}
    site = [
        document(Key(kind, tenant, "site", MARK), HIDDEN, **spec)
        for tenant in tenants
        for kind, spec in (
            ("Network", {"subnets": ["198.18.0.0/16"]}),
            ("SecurityPolicy", {**policy, "priority": dice.choice([100, 900])}),
            ("Workload", {"addresses": ["198.18.0.7"], "node": MARK}),
        )
    ]
    site.append(document(Key("Node", COMMON, "site", MARK), HIDDEN))
    above = document(
        Key("SecurityPolicy", COMMON, "federation", f"{MARK}-above"),
        HIDDEN,
        rules=policy["rules"],
        enforcement="mandatory",
    )
    more = replace(
        inputs,
        federation=inputs.federation.changed(put=[above]),
        local=inputs.local.changed(put=site),
    )
    planners = Planners(more)
    whole = planners.whole
    assert MARK in json.dumps(resolved(Sight(), planners))
    key = dice.choice(sorted(VALUES))
    selectors = [{"matchLabels": {key: value}} for value in (*VALUES[key], "what nothing has")] + [
        {"matchExpressions": [{"key": key, "operator": "Exists"}]}
    ]
    for some, selector in product((None, [COMMON], tenants[-1:]), selectors):
        sight = Sight(reach_of(caller(held(some, None, selector)), Permission.TRACE))
        told = [resolved(sight, planners)]
        for source, node in (("198.18.0.7", None), ("192.0.2.1", None), ("198.18.0.7", NODES[0])):
            flow = {"from": source, "to": "198.18.9.9", "protocol": "tcp", "port": 443}
            if node is None or Key("Node", COMMON, "site", node) in more.local:
                told.append(sight.story(judge(whole.plan(node), packet(flow))))
        assert MARK not in json.dumps(told)
        with pytest.raises(NotFound) as refused:
            resolved(sight, planners, Asking(world, SITE, MARK, NOW, False))
        assert refused.value.code == "unknown_node"


def test_the_whole_sight_is_the_whole_site() -> None:
    planners = Planners(site_inputs(rolled_world(1), SITE, NOW))
    assert narrowed(planners.whole, None) is planners.whole
    assert resolved(Sight(), planners) == planners.whole.plan().to_json()


@pytest.mark.parametrize("tenant", ["acme", COMMON])
def test_an_exception_is_its_targets(tenant: str) -> None:
    spec = {
        "target": {"kind": "SecurityPolicy", "tenant": tenant, "name": "p"},
        "reason": "x",
        "spec": {"rules": []},
    }
    override = rivals("Override", "site", **spec)
    assert rests_on(override, frozenset({"acme"}))
    assert rests_on(override, frozenset({"other"})) == (tenant == COMMON)
