"""Conflicts of generated worlds: all are there and no others, and each proposal ends its own."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sdsp.conflicts.standing import spec_of
from shared.ids import Key
from shared.model.override import Conflict
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import find_conflicts
from shared.policy.conflicts.exceptions import inherited, superfluous
from shared.policy.definitions import Name, read_exemption
from shared.policy.faults.fault import new_faults
from shared.policy.faults.site import site_faults
from shared.policy.inputs import Document, SiteInputs
from shared.policy.merging import exempted
from shared.policy.ways.contract import Barred, applied
from shared.policy.ways.out import way_out, ways_out
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world
from tests.property.planner_worlds import site_inputs
from tests.property.profile import rolls

worlds = st.integers(0, 1_000_000)


def inputs_of(seed: int) -> SiteInputs:
    return site_inputs(rolled_world(seed), SITE, NOW)


def overrides(inputs: SiteInputs) -> list[Document]:
    return list(inputs.local.of_kind("Override"))


def said(document: Document) -> dict[str, Any]:
    return exempted(document.spec.to_json())


@given(worlds)
def test_each_conflict_is_found_once_and_fits_into_its_object(seed: int) -> None:
    found = find_conflicts(SitePlanner(inputs_of(seed)))
    assert len({(each.owner, each.name) for each in found}) == len(found)
    for each in found:
        Conflict.model_validate(
            {
                "type": each.type,
                "target": each.target._asdict(),
                "facts": each.facts,
                "global": each.inherited,
                "local": each.local,
                "base": each.base,
                "fields": each.fields,
            }
        )


@given(worlds)
def test_exceptions_and_targets_have_parted_exactly_where_it_is_said(seed: int) -> None:
    inputs = inputs_of(seed)
    planner = SitePlanner(inputs)
    found = {
        (each.type, each.facts["override"]["scope"], each.facts["override"]["name"])
        for each in find_conflicts(planner)
        if each.type in ("edited_both", "deleted_upstream")
    }
    expected = set()
    for document in overrides(inputs):
        exemption = read_exemption(document)
        assert exemption is not None
        terms = exemption.terms
        if terms.expires_at is not None and terms.expires_at <= NOW:
            continue
        target = Name(terms.target.kind, terms.target.tenant, terms.target.name)
        now = inherited(target, planner)
        if now is None:
            expected.add(("deleted_upstream", document.key.scope, document.key.name))
        elif terms.based_on is not None:
            base, local = exempted(terms.based_on.spec), said_of(exemption.spec)
            normal = exempted(type(now.spec).model_validate(base).to_json())
            if said(now) not in (normal, local):
                expected.add(("edited_both", document.key.scope, document.key.name))
    assert found == expected


def said_of(spec: Any) -> dict[str, Any]:
    return exempted(spec.to_json())


@given(worlds)
def test_unresolved_names_are_those_of_some_view(seed: int) -> None:
    planner = SitePlanner(inputs_of(seed))
    found = {
        (each.target.tenant, each.target.name, each.subject)
        for each in find_conflicts(planner)
        if each.type == "unresolved_name"
    }
    expected = {
        (missing["tenant"], missing["policy"], missing["reference"])
        for node in (None, *planner.places.nodes)
        for missing in (each.to_json() for each in planner.plan(node).unresolved)
    }
    assert found == expected


def conflict_of(finding: Finding) -> Conflict:
    return Conflict.model_validate(spec_of(finding))


@given(worlds)
def test_whatever_is_chosen_ends_the_conflict_and_makes_of_the_target_what_was_said(
    seed: int,
) -> None:
    inputs = inputs_of(seed)
    for finding in find_conflicts(SitePlanner(inputs)):
        if finding.type != "edited_both":
            continue
        for way in ways_out(SitePlanner(inputs), conflict_of(finding)):
            if isinstance(way, Barred):
                assert way.name in ("narrow", "askFederation")
                continue
            if way.name == "askFederation":
                assert way.steps == (), "a question changes nothing"
                continue
            planner = SitePlanner(applied(inputs, way))
            names = {each.name for each in find_conflicts(planner)}
            assert finding.name not in names
            if way.name == "acceptGlobal":
                continue
            at = finding.facts["override"]["scope"]
            chain = (at, *planner.places.upstream)
            chosen = (
                planner.inheritance(staged=True).choose(finding.target, chain).effective
                if finding.target.kind == "SecurityPolicy"
                else planner.inheritance().definition(finding.target, chain)
            )
            # A local namesake may have come in between, and a name may be left without meaning.
            if chosen is not None and chosen.override is not None:
                assert exempted(chosen.spec.to_json()) == exempted(way.spec)


def names_in(value: Any) -> set[tuple[str, str]]:
    """The networks and services that a spec names, and its addresses: from the plain data."""
    found: set[tuple[str, str]] = set()
    if isinstance(value, dict):
        found = {(key, value[key]) for key in ("network", "service", "cidr") if key in value}
        value = list(value.values())
    return found.union(*map(names_in, value)) if isinstance(value, list) else found


def may_hold_everywhere(local: dict[str, Any], target: Document, inputs: SiteInputs) -> bool:
    """Whether a policy could be the federation's: worked out from plain data, name by name."""
    if target.key.kind != "SecurityPolicy":
        return True
    tenant = target.key.tenant
    if tenant != "common" and local.get("priority", 500) < 100:
        return False
    scopes = {"federation"}
    region = target.key.scope.partition("/")[2]
    while region and f"region/{region}" not in scopes:
        scopes.add(f"region/{region}")
        parent = inputs.federation.get(Key("Region", "common", "federation", region))
        region = (parent.spec.to_json().get("parent") or "") if parent else ""
    known = {
        (each.key.kind.lower(), each.key.name)
        for each in inputs.federation
        if each.key.scope in scopes and each.key.tenant in ("common", tenant)
    }
    return names_in(local.get("rules", [])) <= known


@given(worlds)
def test_the_federation_can_be_asked_for_just_what_could_hold_everywhere(seed: int) -> None:
    """And what it takes over ends the conflict, since both sides say the same then."""
    inputs = inputs_of(seed)
    planner = SitePlanner(inputs)
    for finding in find_conflicts(planner):
        if finding.type not in ("edited_both", "name_taken"):
            continue
        target = inherited(finding.target, planner)
        assert target is not None
        way = way_out(planner, conflict_of(finding), "askFederation")
        assert way is not None
        is_asked = not isinstance(way, Barred)
        assert is_asked == may_hold_everywhere(dict(finding.local), target, inputs), way
        if finding.type == "name_taken" or isinstance(way, Barred):
            continue
        own = target.spec.to_json()
        kept = {name: own[name] for name in ("enforcement", "sites") if name in own}
        spec = type(target.spec).model_validate({**way.spec, **kept})
        taken_over = inputs.federation.changed(put=[Document(target.key, spec, target.labels)])
        after = SitePlanner(SiteInputs(inputs.site, taken_over, inputs.local, inputs.now))
        now = inherited(finding.target, after)
        if now is None or now.key != target.key:
            continue  # what has no meaning any more leaves the name to another scope
        assert finding.name not in {each.name for each in find_conflicts(after)}
        override = finding.facts["override"]["name"]
        assert override in {each.key.name for each in superfluous(after)}


def test_the_worlds_have_what_may_be_asked_for_and_what_may_not() -> None:
    found = set()
    for seed in range(300):
        planner = SitePlanner(inputs_of(seed))
        for each in find_conflicts(planner):
            if each.type == "edited_both":
                way = way_out(planner, conflict_of(each), "askFederation")
                found.add(isinstance(way, Barred))
    assert found == {True, False}


def test_the_worlds_have_conflicts_of_each_kind_that_an_exception_can_have() -> None:
    kinds, clean = set(), set()
    for seed in range(300):
        for each in find_conflicts(SitePlanner(inputs_of(seed))):
            kinds.add(each.type)
            if each.type == "edited_both":
                clean.add((each.urgency, bool(each.fields), each.facts["runs"]))
    assert kinds >= {"edited_both", "unresolved_name", "shadowed_rule", "contradicts_mandatory"}
    assert {runs for _, _, runs in clean} == {"merge", "keepLocal", "applyGlobal"}
    assert {fields for _, fields, _ in clean} == {True, False}


def assert_each_way_is_one(seed: int) -> int:
    """Each way out ends its conflict and is nothing that the site would refuse; count them."""
    inputs = inputs_of(seed)
    planner = SitePlanner(inputs)
    before = tuple(site_faults(inputs, planner))
    count = 0
    for finding in find_conflicts(planner):
        for way in ways_out(planner, conflict_of(finding)):
            if isinstance(way, Barred) or not way.steps:
                continue
            count += 1
            after = applied(inputs, way)
            planned = SitePlanner(after)
            assert not [*new_faults(before, tuple(site_faults(after, planned)))]
            assert finding.name not in {each.name for each in find_conflicts(planned)}
    return count


def test_each_way_out_of_any_conflict_ends_it_and_is_admitted() -> None:
    assert sum(assert_each_way_is_one(seed) for seed in rolls(120)) > 100


def test_regression_a_rule_of_an_exception_that_has_parted_is_not_removed_first() -> None:
    """Its removal would have based the exception on what is inherited now, unasked."""
    assert_each_way_is_one(401)
    planner = SitePlanner(inputs_of(401))
    (found,) = [
        each
        for each in find_conflicts(planner)
        if each.type == "shadowed_rule"
        and "acceptGlobal" in [proposal.name for proposal in each.proposals]
    ]
    accept = next(iter(ways_out(planner, conflict_of(found))))
    assert isinstance(accept, Barred)
    assert "have parted" in accept.why
