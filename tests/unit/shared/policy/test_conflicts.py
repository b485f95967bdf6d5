"""Each type of conflict, by the smallest site that has it, and by one that doesn't quite."""

from typing import Any

from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import find_conflicts
from shared.policy.inputs import SiteInputs
from tests.unit.shared.policy.building import (
    document,
    net,
    network,
    node,
    override,
    policy,
    rule,
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
            *("acceptGlobal", "keepLocal", "merge"),
        ]
        assert [one["name"] for one in each.base["rules"]] == ["a", "b"]

    def test_edits_of_one_field_are_urgent_and_cannot_be_merged(self) -> None:
        (each,) = found(self.exception(port("a", action="reject"), port("b")))
        assert (each.urgency, each.fields) == ("immediate", ("rules[a].action",))
        assert [proposal.name for proposal in each.proposals] == [
            *("acceptGlobal", "keepLocal", "narrow"),
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
