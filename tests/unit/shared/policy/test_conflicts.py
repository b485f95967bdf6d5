"""Each type of conflict, by the smallest site that has it, and by one that doesn't quite."""

from dataclasses import replace
from typing import Any

from sdsp.conflicts.standing import spec_of
from shared.model.override import Conflict
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import find_conflicts
from shared.policy.conflicts.grouping import Group, Grouping, group_of
from shared.policy.definitions import Name
from shared.policy.inputs import SiteInputs
from shared.policy.verdict import FlowJudge
from shared.policy.ways.contract import Way, applied
from shared.policy.ways.out import ways_out
from tests.unit.shared.policy.building import (
    document,
    net,
    network,
    node,
    override,
    packet,
    policy,
    rule,
    service,
    tenant,
    workload,
    world,
)


def found(inputs: SiteInputs) -> list[Finding]:
    return list(find_conflicts(SitePlanner(inputs)))


def types(inputs: SiteInputs) -> list[str]:
    return [each.type for each in found(inputs)]


def port(name: str, **given: Any) -> dict[str, Any]:
    """A rule of a port of its own."""
    return rule(name, services=[{"protocol": "tcp", "ports": [str(ord(name))]}], **given)


def based_on(*rules: Any, **fields: Any) -> dict[str, Any]:
    return {"revision": 1, "spec": {"rules": list(rules), **fields}}


class TestEditedBoth:
    inherited = policy("p", port("a", action="deny"), port("b"), enforcement="mandatory")

    def exception(self, *rules: Any) -> SiteInputs:
        base = based_on(port("a"), port("b"), enforcement="mandatory")
        spec = {"rules": list(rules)}
        return world([self.inherited], [override("o", "SecurityPolicy", "p", spec, basedOn=base)])

    def test_edits_apart_are_merged_and_can_wait(self) -> None:
        (each,) = found(self.exception(port("a"), port("b", action="reject")))
        assert (each.type, each.urgency, each.fields) == ("edited_both", "deferrable", ())
        assert [proposal.name for proposal in each.proposals] == [
            *("acceptGlobal", "keepLocal", "merge", "askFederation"),
        ]
        assert [one["name"] for one in each.base["rules"]] == ["a", "b"]

    def test_edits_of_one_field_are_urgent_and_cannot_be_merged(self) -> None:
        (each,) = found(self.exception(port("a", action="reject"), port("b")))
        assert (each.urgency, each.fields) == ("immediate", ("rules[a].action",))
        assert [proposal.name for proposal in each.proposals] == [
            *("acceptGlobal", "keepLocal", "narrow", "askFederation"),
        ]

    def test_the_same_edit_on_both_sides_is_none(self) -> None:
        assert types(self.exception(port("a", action="deny"), port("b"))) == []


def test_an_exception_whose_target_is_gone_has_no_effect() -> None:
    base = based_on(rule())
    gone = override("o", "SecurityPolicy", "p", {"rules": [rule()]}, basedOn=base)
    (each,) = found(world([], [gone]))
    assert (each.type, each.inherited) == ("deleted_upstream", {})
    assert [proposal.name for proposal in each.proposals] == ["acceptGlobal", "keepLocal"]


def test_a_local_policy_under_a_mandatory_namesake_is_suspended_also_for_a_group() -> None:
    mandatory = policy("p", rule("theirs"), enforcement="mandatory")
    own = policy("p", rule("mine"), scope="node/n1")
    (each,) = found(world([mandatory], [node("n1"), own]))
    assert (each.type, each.subject, each.urgency) == ("name_taken", "node/n1", "immediate")
    default = policy("p", rule("theirs"))
    assert types(world([default], [node("n1"), own])) == []


def test_an_unresolved_deny_fails_open_only_where_somebody_enforces() -> None:
    declared = [network("A"), policy("p", rule("r", to=net("A"), action="deny"))]
    (each,) = found(world(declared))
    assert (each.type, each.subject, each.urgency) == ("unresolved_name", "network:A", "immediate")
    # At the admitted node the name has a meaning; nobody enforces what the site alone lacks.
    near = network("A", "10.0.0.0/24", scope="node/n1")
    enforced = [node("n1", admission="admitted"), near, workload("w", "10.0.0.1", node="n1")]
    (each,) = found(world(declared, enforced))
    assert each.urgency == "normal"


def test_a_rule_against_a_mandatory_one_is_told_with_an_example() -> None:
    mandatory = policy("block", rule("no", action="deny"), enforcement="mandatory")
    own = policy("ours", rule("yes", to=[{"cidr": "10.0.0.0/24"}]))
    contradicted, shadowed = found(world([mandatory], [own]))
    assert (contradicted.type, contradicted.facts["extent"]) == ("contradicts_mandatory", "whole")
    assert contradicted.facts["example"]["to"].startswith("10.0.0.")
    assert (shadowed.type, shadowed.facts["decided"]) == ("shadowed_rule", "otherwise")


def test_a_conflict_tells_nothing_of_another_tenant_s_rules() -> None:
    """Regression: it stood in common, where many may read, and named the rule that it is about."""
    first = policy("rival", rule("all"), tenant="rival", priority=100, enforcement="mandatory")
    second = policy("ours", rule("all", action="deny"), tenant="acme")
    own = [
        network("R", "10.1.0.0/24", tenant="rival"),
        network("A", "10.2.0.0/24", tenant="acme"),
        policy("mine", rule("m", from_=[{"cidr": "10.1.0.0/24"}], to=[{"cidr": "10.2.0.0/24"}]),
               tenant="acme"),
    ]  # fmt: skip
    inputs = world([tenant("rival"), tenant("acme"), first, second], own)
    concerned = [each for each in found(inputs) if "by" in each.facts]
    assert any(each.facts["byOthers"] for each in concerned)
    for each in concerned:
        assert each.owner == each.target.tenant
        assert {rule["tenant"] for rule in each.facts["by"]} <= {each.owner}
        assert each.facts["example"] is None or not each.facts["byOthers"]


def test_a_conflict_of_an_exception_belongs_to_the_exception_s_tenant() -> None:
    inherited = policy("p", rule("a"), tenant="acme")
    base = based_on(rule("a", action="reject"))
    exception = override(
        "o", "SecurityPolicy", "p", {"rules": [rule("a", action="deny")]},
        target_tenant="acme", basedOn=base,
    )  # fmt: skip
    (each,) = found(world([tenant("acme"), inherited], [exception]))
    assert (each.type, each.owner, each.target.tenant) == ("edited_both", "common", "acme")


def test_regression_a_merge_that_is_not_valid_is_not_said_to_run() -> None:
    """The facts said `merge`, where the exception ran as it was."""

    def people(server: str, **more: Any) -> dict[str, Any]:
        return {"ldap": {"base": "dc=x", "servers": [server], **more}}

    # One side needs StartTLS no more, the other only with it: merged, passwords go in the clear.
    base = people("ldaps://d.example", startTls=True)
    inherited = document(
        "AuthenticationPolicy",
        "people",
        {**people("ldap://d.example", startTls=True), "enforcement": "mandatory"},
    )
    exception = override(
        "o",
        "AuthenticationPolicy",
        "people",
        people("ldaps://d.example"),
        basedOn={"revision": 1, "spec": base},
    )
    (each,) = found(world([inherited], [exception]))
    assert (each.type, each.facts["runs"]) == ("edited_both", "keepLocal")
    assert "merge" not in [proposal.name for proposal in each.proposals]


class TestManyRules:
    """Of many shadowed rules of one policy there is one conflict, and it stays one."""

    @staticmethod
    def shadowed(count: int) -> SiteInputs:
        rules = [rule("all"), *(rule(f"r{number}", action="deny") for number in range(count))]
        return world([], [policy("ours", *rules), policy("z", rule("last"))])

    def test_of_twenty_each_is_told_and_of_more_the_policy(self) -> None:
        assert types(self.shadowed(20)) == ["shadowed_rule"] * 21
        many, other = found(self.shadowed(21))
        assert (many.target.name, many.subject, many.urgency) == ("ours", "", "normal")
        assert (many.facts["count"], len(many.facts["rules"])) == (21, 20)
        assert many.facts["rules"][0] == {
            "rule": "r0",
            "tier": "local",
            "action": "deny",
            "decided": "otherwise",
        }
        assert (other.target.name, other.subject) == ("z", "last")

    def test_near_the_bound_nothing_goes_back_and_forth(self) -> None:
        def counted(grouping: Grouping, count: int) -> list[int]:
            named = Finding("shadowed_rule", Name("SecurityPolicy", "common", "p"), facts={})
            members = [replace(named, subject=f"r{number}") for number in range(count)]
            return [each.facts.get("count", 1) for each in grouping.grouped(members)]

        grouping = Grouping()
        for count, expected in (
            (20, [1] * 20),
            (21, [21]),
            (20, [20]),
            (11, [11]),
            (10, [1] * 10),
            (11, [1] * 11),
        ):
            assert counted(grouping, count) == expected
        # Nor by a restart.
        (many,) = [each for each in found(self.shadowed(21)) if not each.subject]
        known = group_of(spec_of(many))
        assert known == Group("shadowed_rule", Name("SecurityPolicy", "common", "ours"))
        (one,) = Grouping([known]).grouped(
            each for each in found(self.shadowed(15)) if each.target.name == "ours"
        )
        assert one.facts["count"] == 15

    def test_another_rule_is_another_matter_and_all_of_them_go_at_once(self) -> None:
        inputs = self.shadowed(25)
        planner = SitePlanner(inputs)
        many = found(inputs)[0]
        assert many.facts["digest"] != found(self.shadowed(26))[0].facts["digest"]
        conflict = Conflict.model_validate(spec_of(many))
        accept, keep = ways_out(planner, conflict)
        assert isinstance(accept, Way)
        assert isinstance(keep, Way)
        assert [each["name"] for each in accept.spec["rules"]] == ["all"]
        assert keep.steps == ()
        assert types(applied(inputs, accept)) == ["shadowed_rule"]


def test_many_contradicted_rules_are_narrowed_at_once() -> None:
    mandatory = policy("no", port("a", action="deny"), enforcement="mandatory")
    both = [{"protocol": "tcp", "ports": [str(ord("a"))]}, {"service": "s"}]
    own = policy("ours", *(rule(f"r{number}", services=both) for number in range(21)))
    named = service("s", {"protocol": "udp", "ports": ["7"]})
    inputs = world([mandatory, named], [own])
    (many,) = [each for each in found(inputs) if each.type == "contradicts_mandatory"]
    assert (many.facts["count"], many.facts["rules"][0]["extent"]) == (21, "part")
    ways = {
        way.name: way
        for way in ways_out(SitePlanner(inputs), Conflict.model_validate(spec_of(many)))
    }
    narrow = ways["narrow"]
    assert isinstance(narrow, Way)
    # Only the first of them takes effect.
    assert [each["name"] for each in narrow.spec["rules"]] == ["r0"]
    assert narrow.spec["rules"][0]["services"] == [{"service": "s"}]
    assert "contradicts_mandatory" not in types(applied(inputs, narrow))


def test_all_services_but_one_are_a_long_list() -> None:
    """No rule can say `but`; what is left is exact all the same."""
    mandatory = policy("no", port("a", action="deny"), enforcement="mandatory")
    inputs = world([mandatory], [policy("ours", rule("every"))])
    planner = SitePlanner(inputs)
    (each,) = [one for one in found(inputs) if one.type == "contradicts_mandatory"]
    conflict = Conflict.model_validate(spec_of(each))
    narrow = next(way for way in ways_out(planner, conflict) if way.name == "narrow")
    assert isinstance(narrow, Way)
    (left,) = narrow.spec["rules"]
    assert (left["from"], left["to"], len(left["services"])) == ("any", "any", 256)
    tcp = {"protocol": "tcp", "ports": ["0-96", "98-65535"]}
    assert [one for one in left["services"] if one["protocol"] == "tcp"] == [tcp]
    assert types(applied(inputs, narrow)) == []


def test_an_exception_of_a_node_is_narrowed_as_the_node_sees_it() -> None:
    def allowed(*services: str) -> dict[str, Any]:
        named = [{"protocol": "tcp", "ports": [each]} for each in services]
        return rule("a", to=net("A"), services=named)

    inherited = policy("p", allowed("80", "8000"), enforcement="mandatory")
    exception = override(
        "o",
        "SecurityPolicy",
        "p",
        {"rules": [allowed("80", "443", "22")]},
        scope="node/n1",
        basedOn=based_on(allowed("80", "443"), enforcement="mandatory"),
    )
    near = network("A", "10.1.0.0/24", scope="node/n1")
    inputs = world([network("A", "10.0.0.0/24"), inherited], [node("n1"), near, exception])
    planner = SitePlanner(inputs)
    (each,) = [one for one in found(inputs) if one.type == "edited_both"]
    conflict = Conflict.model_validate(spec_of(each))
    narrow = next(way for way in ways_out(planner, conflict) if way.name == "narrow")
    assert isinstance(narrow, Way)
    after = SitePlanner(applied(inputs, narrow))
    for at, name, verdicts in (
        # The site's own view has no exception.
        (None, "10.0.0.1", ("allow", "deny", "deny", "allow")),
        # At the node upstream took 443 back and let 8000 in; 22 is the exception's.
        ("n1", "10.1.0.1", ("allow", "deny", "allow", "allow")),
    ):
        judge = FlowJudge(after.plan(at))
        found_there = [
            judge.judge(packet("192.0.2.1", name, "tcp", number)).verdict
            for number in (80, 443, 22, 8000)
        ]
        assert tuple(found_there) == verdicts


def test_what_an_exception_puts_in_front_is_what_it_is_for() -> None:
    mandatory = policy("no", port("a", action="deny"), enforcement="mandatory")
    front = {"rules": [port("a"), {**port("a", action="deny"), "name": "no-a"}]}
    exception = override("o", "SecurityPolicy", "no", front)
    own = policy("ours", port("a"))
    # Neither its own rule behind, nor the site's, which stands for the time after it.
    assert types(world([mandatory], [exception, own])) == []
    # One that decides the site's rule otherwise is told.
    other = override("o", "SecurityPolicy", "no", {"rules": [port("a", action="deny")]})
    assert "shadowed_rule" in types(world([mandatory], [other, own]))
