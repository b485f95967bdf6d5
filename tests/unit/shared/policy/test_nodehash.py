"""A node configuration's hash, as a sum; deltas that don't fit are refused."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.policy.nodeconfig import NodeConfiguration, NodeRule
from shared.policy.nodedelta import apply_delta, compute_delta
from shared.policy.nodehash import (
    content_hash,
    member_term,
    members_total,
    rule_term,
    rules_total,
    set_term,
    total,
)


def rule(number: int, **given: Any) -> NodeRule:
    return NodeRule(
        **{
            "id": f"{number:016x}",
            "tier": "local",
            "tenant": "common",
            "policy": "p",
            "rule": f"r{number}",
            "origin": "local",
            "action": "allow",
            "log": False,
            "source": "s1",
            "destination": None,
            "services": None,
            "within": None,
            **given,
        }
    )


HAVE = NodeConfiguration(
    node="n1",
    default_action="deny",
    addresses=("10.0.0.5/32",),
    sets={"s1": ("10.0.0.0/24", "10.0.2.0/24"), "s2": ("10.1.0.0/16",)},
    rules=(rule(1), rule(2), rule(3)),
)


def renewed(**given: Any) -> NodeConfiguration:
    """Return another configuration, with nothing of the hash worked out."""
    fields = ("node", "default_action", "addresses", "sets", "rules")
    return NodeConfiguration(**{each: getattr(HAVE, each) for each in fields} | given)


def test_equal_content_has_one_hash_whatever_the_order_of_sets() -> None:
    assert renewed().hash() == HAVE.hash()
    assert renewed(sets=dict(reversed(HAVE.sets.items()))).hash() == HAVE.hash()


@pytest.mark.parametrize(
    "change",
    [
        {"default_action": "allow"},
        {"addresses": ()},
        {"addresses": ("10.0.0.6/32",)},
        {"sets": {**HAVE.sets, "s3": ()}},
        {"sets": {"s1": HAVE.sets["s1"]}},
        {"sets": {"s1": HAVE.sets["s2"], "s2": HAVE.sets["s1"]}},
        {"sets": {**HAVE.sets, "s1": ("10.0.0.0/24",)}},
        {"rules": HAVE.rules[:2]},
        {"rules": (rule(2), rule(1), rule(3))},
        {"rules": (rule(1), rule(3), rule(2))},
        {"rules": (rule(3), rule(2), rule(1))},
        {"rules": (rule(1), rule(2, action="deny"), rule(3))},
        {"rules": (rule(1), rule(2, log=True), rule(3))},
        {"rules": (rule(1), rule(2, source=None), rule(3))},
        {"rules": (rule(1), rule(2, source=None, destination="s1"), rule(3))},
    ],
)
def test_whatever_changes_changes_the_hash(change: dict[str, Any]) -> None:
    assert renewed(**change).hash() != HAVE.hash()


@given(st.permutations([rule(number) for number in range(6)]))
def test_the_order_of_rules_counts(rules: list[NodeRule]) -> None:
    in_order = [rule(number) for number in range(6)]
    assert (total({}, rules) == total({}, in_order)) is (rules == in_order)


def test_the_total_is_the_sum_of_all_terms() -> None:
    rules = HAVE.rules
    terms = [rule_term(rules[0], ""), rule_term(rules[1], rules[0].id)]
    assert rules_total(rules[:2]) == sum(terms) % (1 << 256)
    assert rules_total(rules, 1, 2) == terms[1]
    assert rules_total(rules, 1, 9) == (rules_total(rules) - terms[0]) % (1 << 256)
    assert members_total("s", ["a", "b"]) == members_total("s", ["b", "a"])
    expected = set_term("s") + member_term("s", "a") + terms[0]
    assert total({"s": ["a"]}, rules[:1]) == expected % (1 << 256)
    assert member_term("s", "a") != member_term("s a", "")


def test_the_hash_is_hex_of_32_bytes() -> None:
    found = content_hash("deny", (), 0)
    assert len(bytes.fromhex(found)) == 32
    assert found != content_hash("deny", (), 1)


# Deltas that don't fit.


def delta(**given: Any) -> dict[str, Any]:
    """Return a delta that claims to lead to what it would lead to, if it could be applied."""
    return {"base": HAVE.hash(), "hash": "0" * 64, **given}


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"base": "1" * 64}, "for another configuration"),
        ({}, "does not lead to"),
        ({"defaultAction": "allow"}, "does not lead to"),
        ({"sets": {"s9": None}}, "removes set s9, which isn't there"),
        ({"sets": {"s1": {"add": [], "remove": ["10.9.0.0/24"]}}}, "aren't there"),
        ({"sets": {"s1": {"add": ["10.0.0.0/24"], "remove": []}}}, "adds members that are there"),
        ({"sets": {"s9": {"add": [], "remove": ["10.9.0.0/24"]}}}, "aren't there"),
        ({"addresses": {"add": ["10.0.0.5/32"], "remove": []}}, "adds members that are there"),
        ({"addresses": {"add": [], "remove": ["10.0.0.6/32"]}}, "aren't there"),
        ({"sets": {"s1": {"add": ["nonsense"], "remove": []}}}, "'nonsense' is no CIDR"),
        ({"rules": [[0, 1, []]]}, "does not lead to"),
        ({"rules": [[7, 1, []]]}, "does not lead to"),
    ],
)
def test_a_delta_that_does_not_fit_is_refused(given_: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply_delta(HAVE, delta(**given_))


def many(*cidrs: str) -> NodeConfiguration:
    members = tuple(f"10.0.{number}.0/24" for number in range(0, 200, 2))
    return renewed(sets={"s1": members, **({"s2": cidrs} if cidrs else {})})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"add": [], "remove": ["10.0.1.0/24"]}, r"removes 10\.0\.1\.0/24, which isn't there"),
        ({"add": [], "remove": ["10.9.0.0/24"]}, r"removes 10\.9\.0\.0/24, which isn't there"),
        ({"add": [], "remove": ["10.0.2.0/25"]}, r"removes 10\.0\.2\.0/25, which isn't there"),
        ({"add": ["10.0.2.0/24"], "remove": []}, r"adds 10\.0\.2\.0/24, which is there"),
    ],
)
def test_a_small_change_of_a_large_set_that_does_not_fit_is_refused(
    change: dict[str, list[str]], message: str
) -> None:
    have = many()
    with pytest.raises(ValueError, match=message):
        apply_delta(have, {"base": have.hash(), "hash": "0" * 64, "sets": {"s1": change}})


def test_a_small_change_of_a_large_set_keeps_the_order_of_addresses() -> None:
    have = many()
    want = replace(
        renewed(), sets={"s1": (*have.sets["s1"][1:3], "10.0.5.0/24", *have.sets["s1"][3:])}
    )
    assert apply_delta(have, compute_delta(have, want)) == want


def test_refused_deltas_leave_the_configuration_as_it_was() -> None:
    before = HAVE.hash()
    with pytest.raises(ValueError, match="does not lead to"):
        apply_delta(HAVE, delta(rules=[[0, 3, []]], sets={"s1": None}))
    assert renewed().hash() == before == HAVE.hash()
    assert renewed() == HAVE


def test_deltas_there_and_back_add_up() -> None:
    dice = random.Random(5)
    have = HAVE
    for _ in range(60):
        rules = [rule(number) for number in range(6) if dice.random() < 0.6]
        dice.shuffle(rules)
        sets = {
            f"s{number}": tuple(f"10.{n}.0.0/16" for n in range(6) if dice.random() < 0.5)
            for number in range(3)
            if dice.random() < 0.7
        }
        want = renewed(rules=tuple(rules), sets=sets)
        have = apply_delta(have, compute_delta(have, want))
        assert have == want
        assert have.hash() == renewed(rules=tuple(rules), sets=sets).hash()
