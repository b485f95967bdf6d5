"""Shadows and contradictions among a thousand rules against exact sets of packets."""

import pytest

from shared.policy.shadows.findings import Contradiction, Shadowed
from shared.policy.shadows.site import Shadows
from tests.bench.site_rules import site_rules
from tests.bench.workload import Parameters, generate, nest
from tests.property.oracle_shadow_sets import assert_findings

CROWDED = Parameters(networks=60, rules=1000, services=12, shaded=0.02)


@pytest.mark.parametrize("mandatory", [0, 5])
@pytest.mark.parametrize(
    ("parameters", "nested"),
    [
        pytest.param(Parameters(), True, id="nested eight deep"),
        pytest.param(CROWDED, True, id="nested eight deep, few networks"),
        pytest.param(Parameters(networks=200, v6=0.4, services=20), False, id="both families"),
    ],
)
def test_findings_about_a_thousand_rules_are_those_of_exact_sets(
    parameters: Parameters, nested: bool, mandatory: int
) -> None:
    workload = generate(parameters)
    workload = nest(workload) if nested else workload
    rules = site_rules(workload, mandatory=mandatory)
    assert len(rules) == 1000
    findings = [*Shadows(rules).findings]
    assert_findings(rules, findings)
    shadowed = {each.rule.rule for each in findings if isinstance(each, Shadowed)}
    assert {workload["rules"][under]["name"] for _, under in workload["shaded"]} <= shadowed
    assert mandatory == 0 or any(isinstance(each, Contradiction) for each in findings)
    assert parameters is not CROWDED or max(len(each.by) for each in findings) > 1
