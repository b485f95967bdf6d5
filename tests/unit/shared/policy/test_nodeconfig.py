"""A node's configuration crosses the wire unchanged, or is refused by name."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.algebra.cidrs import parse_cidrs
from shared.errors import Invalid
from shared.policy.nodeconfig import (
    Judge,
    NodeConfiguration,
    NodeRule,
    NodeService,
    Packet,
    from_json,
    to_json,
)
from shared.policy.nodedelta import apply_delta, compute_delta
from shared.policy.nodehash import content_hash

SETS = [f"s{number:016x}" for number in range(4)]


def cidrs() -> st.SearchStrategy[tuple[str, ...]]:
    block = st.tuples(st.integers(0, 15), st.integers(28, 32)).map(
        lambda pair: f"10.0.0.{pair[0] * 16}/{pair[1]}"
    )
    return st.lists(block, max_size=4).map(lambda found: parse_cidrs(found).cidrs())


def rules() -> st.SearchStrategy[tuple[NodeRule, ...]]:
    side = st.none() | st.sampled_from(SETS)
    service = st.builds(
        NodeService, st.sampled_from([6, 17]), st.none() | st.just(((80, 80), (443, 444)))
    )
    rule = st.builds(
        NodeRule,
        id=st.integers(0, 30).map(lambda number: f"{number:016x}"),
        tier=st.just("local"),
        tenant=st.just("common"),
        policy=st.just("p"),
        rule=st.just("r"),
        origin=st.just("local"),
        action=st.sampled_from(["allow", "deny", "reject", "pass"]),
        log=st.booleans(),
        source=side,
        destination=side,
        within=side,
        services=st.none() | st.lists(service, min_size=1, max_size=2).map(tuple),
    )
    return st.lists(rule, max_size=6, unique_by=lambda each: each.id).map(tuple)


def configurations() -> st.SearchStrategy[NodeConfiguration]:
    return st.builds(
        NodeConfiguration,
        node=st.just("node-1"),
        default_action=st.sampled_from(["allow", "deny"]),
        addresses=cidrs(),
        sets=st.dictionaries(st.sampled_from(SETS), cidrs()),
        rules=rules(),
    )


@given(configurations())
def test_the_wire_form_loses_nothing(configuration: NodeConfiguration) -> None:
    assert from_json(to_json(configuration)) == configuration


@given(configurations(), configurations())
def test_a_difference_leads_from_one_to_the_other(
    have: NodeConfiguration, want: NodeConfiguration
) -> None:
    assert apply_delta(have, compute_delta(have, want)) == want


@given(configurations(), configurations(), configurations())
def test_a_difference_to_something_else_is_refused(
    have: NodeConfiguration, want: NodeConfiguration, other: NodeConfiguration
) -> None:
    if other.hash() == have.hash():
        return
    with pytest.raises(ValueError, match="another configuration"):
        apply_delta(other, compute_delta(have, want))


RULE = NodeRule("0" * 16, "local", "common", "p", "r", "local", "allow")
BALANCED = {
    "id": "0" * 16,
    "tenant": "common",
    "name": "shop",
    "address": "10.9.0.1",
    "protocol": 6,
    "ports": [80, 80],
    "algorithm": "hash",
    "backends": ["10.0.0.5"],
}
PLAIN = to_json(NodeConfiguration("n", "deny", ("10.0.0.0/8",), {SETS[0]: ()}, (RULE,)))


@pytest.mark.parametrize(
    "document",
    [
        {**PLAIN, "colour": "red"},
        {**PLAIN, "rules": [{**PLAIN["rules"][0], "rateLimit": 5}]},
        {**PLAIN, "rules": [{**PLAIN["rules"][0], "services": [{"protocol": 6, "flags": "S"}]}]},
        {**PLAIN, "rules": [{**PLAIN["rules"][0], "action": "mirror"}]},
        {**PLAIN, "defaultAction": "mirror"},
        {**PLAIN, "balancers": [{**BALANCED, "healthCheck": True}]},
        {**PLAIN, "balancers": [{**BALANCED, "algorithm": "least"}]},
    ],
)
def test_what_a_later_version_asks_for_is_refused_and_not_left_out(document: Any) -> None:
    with pytest.raises(Invalid) as refusal:
        from_json(document)
    assert refusal.value.code == "unsupported_field"


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {**PLAIN, "addresses": "10.0.0.0/8"},
        {**PLAIN, "addresses": [3]},
        {**PLAIN, "balancers": None},
        {**PLAIN, "balancers": {}},
        {**PLAIN, "balancers": [3]},
        {**PLAIN, "balancers": [{**BALANCED, "id": 3}]},
        {**PLAIN, "balancers": [{**BALANCED, "ports": 80}]},
        {**PLAIN, "balancers": [{**BALANCED, "ports": [80]}]},
        {**PLAIN, "balancers": [{**BALANCED, "protocol": True}]},
        {**PLAIN, "balancers": [{**BALANCED, "target": None}]},
        {**PLAIN, "balancers": [{**BALANCED, "backends": "10.0.0.1"}]},
        {**PLAIN, "sets": []},
        {**PLAIN, "sets": {SETS[0]: None}},
        {**PLAIN, "rules": {}},
        {**PLAIN, "rules": [3]},
        {**PLAIN, "rules": [{**PLAIN["rules"][0], "log": "yes"}]},
        {**PLAIN, "rules": [{**PLAIN["rules"][0], "source": 3}]},
        {**PLAIN, "rules": [{**PLAIN["rules"][0], "services": [{"protocol": "tcp"}]}]},
        {**PLAIN, "rules": [{**PLAIN["rules"][0], "services": [{"protocol": True}]}]},
        {**PLAIN, "rules": [{**PLAIN["rules"][0], "services": [{"protocol": 6, "ports": [80]}]}]},
        {**PLAIN, "rules": [{**PLAIN["rules"][0], "services": [{"protocol": 6, "ports": None}]}]},
    ],
)
def test_what_is_no_configuration_is_malformed(document: Any) -> None:
    with pytest.raises(Invalid) as refusal:
        from_json(document)
    assert refusal.value.code == "malformed"


def test_provenance_beside_the_id_is_no_part_of_the_hash() -> None:
    one = NodeConfiguration("n", "deny", (), {}, (RULE,))

    assert replace(one, node="m", rules=(replace(RULE, policy="other"),)).hash() == one.hash()
    assert replace(one, rules=(replace(RULE, log=True),)).hash() != one.hash()


def test_a_judgement_names_the_rules_that_passed_it_on() -> None:
    passing = replace(RULE, id="1" * 16, tier="mandatory", action="pass")
    judge = Judge(NodeConfiguration("n", "deny", ("10.0.0.0/8",), {}, (passing, RULE)))

    judgement = judge.judge(Packet(4, 0x0A000001, 1, 6))

    assert judgement == ("allow", RULE, (passing,))


def test_a_configuration_without_balancers_is_what_it_was_before_there_were_any() -> None:
    plain = from_json(PLAIN)
    assert "balancers" not in PLAIN
    assert plain.hash() == content_hash("deny", plain.addresses, plain.total())
    balancing = from_json({**PLAIN, "balancers": []})
    assert balancing.hash() != plain.hash(), "to run the service is something"
    assert from_json({**PLAIN, "balancers": [BALANCED]}).hash() != balancing.hash()
