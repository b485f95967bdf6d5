"""Shadows and contradictions against a reader of every packet, at once and after each edit."""

from hypothesis import given
from hypothesis import strategies as st

from shared.policy.shadows.findings import Finding
from shared.policy.shadows.rules import ResolvedRule
from shared.policy.shadows.site import Shadows
from tests.property.choices import Choices, Drawn, Rolled
from tests.property.oracle_shadows import assert_findings
from tests.property.profile import rolls
from tests.property.shadow_worlds import edited, made_rules


@given(st.data())
def test_findings_are_those_of_a_reader_of_every_packet(data: st.DataObject) -> None:
    assert_judged(Drawn(data.draw))


def test_findings_of_many_seeds_are_those_of_a_reader_of_every_packet() -> None:
    for seed in rolls(150):
        assert_judged(Rolled(seed))


@given(st.data())
def test_after_edits_findings_are_those_from_scratch(data: st.DataObject) -> None:
    assert_followed(Drawn(data.draw))


def test_after_edits_of_many_seeds_findings_are_those_from_scratch() -> None:
    for seed in rolls(20):
        assert_followed(Rolled(seed))


def assert_judged(choose: Choices) -> None:
    rules = made_rules(choose)
    assert_findings(rules, [*Shadows(rules).findings])


def assert_followed(choose: Choices) -> None:
    # Enough rules that one edit is followed and not made anew.
    rules = made_rules(choose, 20, 25)
    shadows = Shadows(rules)
    for number in range(8):
        rules = edited(choose, rules, 100 + number)
        assert_step(shadows, rules)
    assert_findings(rules, [*shadows.findings])


def assert_step(shadows: Shadows, rules: list[ResolvedRule]) -> None:
    before: list[Finding] = [*shadows.findings]
    changes = shadows.update(rules)
    after = [*shadows.findings]
    assert after == [*Shadows(rules).findings]
    assert set(changes.opened) == set(after) - set(before)
    assert set(changes.closed) == set(before) - set(after)
