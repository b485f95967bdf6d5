"""What `narrow` and the other ways out come to, packet by packet, against a slow reading."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sdsp.conflicts.standing import spec_of
from shared.model.override import Conflict
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import find_conflicts
from shared.policy.impact.site import Impact, site_impact
from shared.policy.narrowing.exceptions import TOO_MANY
from shared.policy.ways.contract import Barred, Way, applied
from shared.policy.ways.out import ways_out
from tests.property.choices import Choices, Drawn, Rolled
from tests.property.profile import rolls
from tests.property.tiny_sites import (
    PACKETS,
    Tiny,
    as_planned,
    edited,
    matching,
    some_policy,
    some_rule,
    tiny_site,
)

NOTHING_LEFT = "nothing of the site's own change would be left"
EFFECT = {"allow": "allow", "deny": "deny", "reject": "deny", "pass": "pass"}


@st.composite
def choices(draw: Any) -> Choices:
    return Drawn(draw)


def parted(choose: Choices) -> Tiny:
    """Return a site whose exception to m2 and m2 itself have both changed since they parted."""
    tiny = tiny_site(choose)
    base = some_policy(choose, "r")
    upstream, mine = edited(choose, base, "up"), edited(choose, base, "own")
    # One field at least is changed on both sides, mostly not alike.
    shared = some_rule(choose, "both")
    base = {"rules": [shared, *base["rules"]]}
    changed_field = choose.pick(("from", "to", "services"))
    for side, prefix in ((upstream, "a"), (mine, "b")):
        other = some_rule(choose, prefix)
        rule = {**shared, changed_field: other.get(changed_field, "any")}
        side["rules"] = [rule, *side["rules"]]
    if choose.chance(10):
        upstream["priority"] = 400
    if choose.chance(10):
        mine["priority"] = 400
    if choose.chance(50):
        return replace(
            tiny,
            mandatory={**tiny.mandatory, "m2": upstream},
            exceptions={**tiny.exceptions, "m2": mine},
            base={"m2": {**base, "enforcement": "mandatory"}},
        )
    return replace(
        tiny,
        default={**tiny.default, "m2": {**upstream, "onConflict": "merge"}},
        exceptions={**tiny.exceptions, "m2": mine},
        base={"m2": base},
    )


def ways_of(tiny: Tiny, kind: str) -> Iterator[tuple[SitePlanner, Finding, Way | Barred]]:
    planner = SitePlanner(tiny.inputs())
    for finding in find_conflicts(planner):
        if finding.type == kind:
            conflict = Conflict.model_validate(spec_of(finding))
            for way in ways_out(planner, conflict):
                yield planner, finding, way


def taken(tiny: Tiny, way: Way) -> Tiny:
    """Return the site once a way out was taken, by what it writes."""
    exceptions, local = dict(tiny.exceptions), dict(tiny.local)
    for step in way.steps:
        spec = step.spec
        if step.key.kind == "Override":
            if spec is None:
                exceptions.pop(step.key.name.removeprefix("for-"))
            else:
                exceptions[spec["target"]["name"]] = spec["spec"]
        elif spec is None:
            local.pop(step.key.name)
        else:
            local[step.key.name] = spec
    return replace(tiny, exceptions=exceptions, local=local, base={})


def assert_impact(impact: Impact, before: Tiny, after: Tiny) -> None:
    was, becomes = before.verdicts(), after.verdicts()
    for packet in PACKETS:
        planned = as_planned(packet)
        allowed = was[packet] != "allow" and becomes[packet] == "allow"
        denied = was[packet] == "allow" and becomes[packet] != "allow"
        assert (planned in impact.allowed) == allowed
        assert (planned in impact.denied) == denied


def check_parted(choose: Choices) -> list[str]:
    """Check each way out of an exception and its target that have parted; return what came."""
    tiny = parted(choose)
    came = []
    others = {name: spec for name, spec in tiny.exceptions.items() if name != "m2"}
    versions = {
        "base": replace(tiny, exceptions={**others, **tiny.base}),
        "local": tiny,
        "inherited": replace(tiny, exceptions=others),
    }
    base, local, inherited = (each.verdicts() for each in versions.values())
    own = {
        packet
        for packet in PACKETS
        if local[packet] != base[packet] and inherited[packet] == base[packet]
    }
    for planner, _, way in ways_of(tiny, "edited_both"):
        if way.name == "askFederation":
            continue  # it writes nothing here
        if isinstance(way, Barred):
            assert way.name == "narrow"
            assert (way.why == NOTHING_LEFT) <= (not own), "something is left"
            came.append("nothing left" if way.why == NOTHING_LEFT else "barred")
            continue
        after = taken(tiny, way)
        found = after.verdicts()
        if way.name == "narrow":
            came.append("narrowed")
            for packet in PACKETS:
                wanted = local if packet in own else inherited
                assert found[packet] == wanted[packet]
        running = running_of(planner, tiny)
        assert_impact(
            site_impact(planner, SitePlanner(applied(planner.inputs, way))), running, after
        )
        assert_settled(planner, way)
    return came


def running_of(planner: SitePlanner, tiny: Tiny) -> Tiny:
    """Return the site as it runs until somebody decides: perhaps merged (test_merging.py)."""
    effective = planner.plan().policies
    spec = next((each.effective.spec.to_json() for each in effective if each.name == "m2"), None)
    if spec is None:
        return tiny
    spec = {name: value for name, value in spec.items() if name != "enforcement"}
    return replace(tiny, exceptions={**tiny.exceptions, "m2": spec})


def assert_settled(planner: SitePlanner, way: Way, *, finding: Finding | None = None) -> None:
    left = find_conflicts(SitePlanner(applied(planner.inputs, way)))
    if finding is None:
        assert "edited_both" not in [each.type for each in left]
    else:
        assert finding.name not in [each.name for each in left]


def check_contradicted(choose: Choices) -> list[str]:
    """Check each way out of a local rule that mandatory ones contradict; return what came."""
    tiny = tiny_site(choose)
    came = []
    was, deciders = tiny.walked(("mandatory", "local", "default"))
    mandatory, _ = tiny.walked(("mandatory",))
    decided_there = {
        packet for packet, by in tiny.walked(("mandatory",))[1].items() if by is not None
    }
    alone, _ = tiny.walked(("local", "default"))
    for planner, finding, way in ways_of(tiny, "contradicts_mandatory"):
        name = finding.target.name
        rule = next(each for each in tiny.local[name]["rules"] if each["name"] == finding.subject)
        against = {
            packet
            for packet in matching(rule) & decided_there
            if EFFECT[mandatory[packet]] != EFFECT[rule["action"]]
        }
        assert against
        # What would be so without mandatory rules is what there is to be kept.
        would = {packet for packet in against if alone[packet] == rule["action"]}
        if isinstance(way, Barred):
            assert way.why == TOO_MANY or (way.name == "keepLocal" and not would)
            came.append(f"{way.name} barred" if would else "of no use")
            continue
        came.append(way.name)
        after = taken(tiny, way)
        found = after.verdicts()
        effect = {packet for packet, by in deciders.items() if by == ("local", name, rule["name"])}
        for packet in PACKETS:
            if way.name == "narrow":
                assert found[packet] == was[packet]
            elif way.name == "keepLocal":
                assert found[packet] == (rule["action"] if packet in would else was[packet])
            elif packet not in effect:
                assert found[packet] == was[packet]
        if way.name == "narrow":
            assert_narrowed(tiny, after, name, rule, against=against, effect=effect)
        impact = site_impact(planner, SitePlanner(applied(planner.inputs, way)))
        assert_impact(impact, tiny, after)
        assert_settled(planner, way, finding=finding)
    return came


def assert_narrowed(
    tiny: Tiny, after: Tiny, name: str, rule: Any, *, against: set[Any], effect: set[Any]
) -> None:
    """The rules in its place match what it decides, and nothing contradicted or new."""
    others = {each["name"] for each in tiny.local[name]["rules"]} - {rule["name"]}
    rules = after.local.get(name, {"rules": []})["rules"]
    made = [each for each in rules if each["name"] not in others]
    assert {each["action"] for each in made} <= {rule["action"]}
    matched = {packet for each in made for packet in matching(each)}
    assert effect <= matched <= matching(rule) - against


@settings(max_examples=25)
@given(choices())
def test_narrowed_exceptions_decide_every_packet_as_they_must(choose: Choices) -> None:
    check_parted(choose)


@settings(max_examples=25)
@given(choices())
def test_ways_out_of_a_contradiction_decide_every_packet_as_they_must(choose: Choices) -> None:
    check_contradicted(choose)


def test_narrowing_is_mostly_possible() -> None:
    """So that what the tests above hold is not mostly nothing."""
    parted_came: list[str] = []
    contradicted_came: list[str] = []
    for seed in rolls(60):
        parted_came += check_parted(Rolled(seed))
        contradicted_came += check_contradicted(Rolled(seed))
    assert parted_came.count("narrowed") > 10 + 5 * parted_came.count("barred")
    assert contradicted_came.count("narrow") > 10 * contradicted_came.count("narrow barred") > 0
    assert contradicted_came.count("keepLocal") > 10 * contradicted_came.count("keepLocal barred")
