"""The oracle itself agrees with the worked examples, so that it may be held against the planner."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.property import oracle
from tests.property.oracle_inheritance import Asking, load
from tests.property.oracle_policytest import outcomes
from tests.property.oracle_printed import resolved

CASES = Path(__file__).parents[1] / "acceptance" / "cases"
TODAY = datetime(2026, 6, 1, tzinfo=UTC)
RANDOM = sorted((CASES / "random").iterdir(), key=lambda path: int(path.name))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("case", [pytest.param(path, id=path.name) for path in RANDOM])
@pytest.mark.parametrize(
    ("node", "expected"), [(None, "expected-site.jsonl"), ("n1", "expected-node-n1.jsonl")]
)
def test_random_flows(case: Path, node: str | None, expected: str) -> None:
    seen = oracle.view(Asking(load(case), "s1", node, TODAY))
    for flow in lines(case / expected):
        said = oracle.judge(seen, flow)
        got = {"verdict": said.verdict, "tier": said.tier, "policy": said.policy, "rule": said.rule}
        assert flow | got == flow


@pytest.mark.parametrize(
    ("site", "node", "expected"),
    [
        ("sfo", None, "resolve-sfo.json"),
        ("sfo", "node-7", "resolve-sfo-node-7.json"),
        ("fra", None, "resolve-fra.json"),
    ],
)
def test_hand_written_rules(site: str, node: str | None, expected: str) -> None:
    got = resolved(Asking(load(CASES / "two-sites"), site, node, TODAY))
    assert got == json.loads((CASES / "two-sites" / "expected" / expected).read_text())


def test_policy_tests() -> None:
    world = load(CASES / "two-sites")
    for test in world["tests"]:
        asking = Asking(world, test["spec"]["site"], test["spec"].get("node"), TODAY)
        assert outcomes(test, asking) == [True] * len(test["spec"]["flows"])


def test_a_policy_test_that_fails() -> None:
    world = load(CASES / "refused" / "failing-test")
    (test,) = world["tests"]
    assert outcomes(test, Asking(world, "s1", None, TODAY)) == [False]
