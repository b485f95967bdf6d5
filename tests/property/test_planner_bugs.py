"""The comparisons can fail: bugs put into the planner itself are noticed."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from shared.algebra.cidrs import NOWHERE
from shared.policy import compile as compiling
from shared.policy import inherit, nodeplan, policytest, resolve, scopes
from shared.policy.faults import overrides, site
from shared.policy.graph import ancestors
from shared.policy.plan import TIERS
from tests.property.choices import Rolled
from tests.property.generators import rolled_world
from tests.property.test_node_configuration_oracle import assert_enforced, assert_stable
from tests.property.test_planner_faults import all_faults
from tests.property.test_planner_policytests import assert_outcomes
from tests.property.test_planner_verdicts import assert_resolved, assert_verdicts

WITHIN = 120
"""Worlds within which each bug must show."""


def verdicts(seed: int) -> None:
    assert_verdicts(rolled_world(seed), seed)


def resolved(seed: int) -> None:
    assert_resolved(rolled_world(seed))


def policy_tests(seed: int) -> None:
    assert_outcomes(Rolled(seed))


def enforced(seed: int) -> None:
    assert_enforced(rolled_world(seed), seed)


def stable(seed: int) -> None:
    assert_stable(rolled_world(seed), seed)


def faultless(seed: int) -> None:
    assert all_faults(rolled_world(seed, live=False)) == []


def id_by_members(side: Any) -> str:
    return "s" + hashlib.sha256(" ".join(side.addresses.cidrs()).encode()).hexdigest()[:16]


def by_first_place(groups: Any, parents: Any) -> Any:
    met = [name for group in groups for name in ancestors(group, parents)]
    return tuple(f"group/{name}" for name in dict.fromkeys(met))


def selected_everywhere(*_: Any) -> bool:
    return True


BUGS: dict[str, tuple[Any, str, Any, Callable[[int], None]]] = {
    "every candidate goes to every node": (nodeplan, "touches", selected_everywhere, enforced),
    "nodes needn't be admitted": (nodeplan, "_is_admitted", selected_everywhere, enforced),
    "sets are named by their members": (nodeplan, "peers_set_id", id_by_members, stable),
    "every policy selects every site": (inherit, "selects", selected_everywhere, verdicts),
    "nothing is sealed": (inherit, "is_sealed", lambda _: False, resolved),
    "nothing is mandatory": (inherit, "is_mandatory", lambda _: False, verdicts),
    "of a group met twice the first place counts": (
        scopes, "group_chain", by_first_place, resolved,
    ),
    "mandatory policies by priority alone": (
        compiling, "policy_order", lambda _, name, tier, effective: (
            TIERS.index(tier), effective.spec.priority, name.tenant, name.name
        ), resolved,
    ),
    "workloads have no addresses": (resolve, "host_addresses", lambda _: NOWHERE, resolved),
    "a deny is no reject": (
        policytest, "_ACCEPTED", {each: {each} for each in ("allow", "deny", "reject")}, policy_tests,
    ),
    "mandatory policies take names everywhere": (site, "selects", selected_everywhere, faultless),
    "every override is of something replaced": (
        overrides, "_replaces", selected_everywhere, faultless,
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", [pytest.param(bug, id=name) for name, bug in BUGS.items()])
def test_a_bug_in_the_planner_is_noticed(
    bug: tuple[Any, str, Any, Callable[[int], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, replacement, compare = bug
    monkeypatch.setattr(module, name, replacement)
    with pytest.raises(AssertionError):
        each_of(WITHIN, compare)


def each_of(count: int, compare: Callable[[int], None]) -> None:
    for seed in range(count):
        compare(seed)
