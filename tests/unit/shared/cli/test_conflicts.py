"""What is said of conflicts in each of their states, and which of them presses most."""

import io
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from shared.cli.answers import Object
from shared.cli.conflicts.case import Case
from shared.cli.conflicts.deciding import moment_ahead
from shared.cli.conflicts.screen import Screen, show_case, show_choice, show_list
from shared.cli.repository import read_repository
from shared.errors import Invalid
from shared.policy.compile import SitePlanner
from shared.policy.impact.site import site_impact
from tests.fakes.clock import VirtualClock

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LOCAL = {"rules": [{"name": "a", "from": "any", "to": "any", "action": "deny"}]}
GLOBAL = {"rules": [{"name": "a", "from": "any", "to": "any", "action": "reject"}]}
BASE = {
    "enforcement": "mandatory",
    "rules": [{"name": "a", "from": "any", "to": "any", "action": "allow"}],
}


def at(**passed: float) -> str:
    return (NOW + timedelta(**passed)).isoformat()


def case(name: str = "c", *, tenant: str = "common", **spec: Any) -> Case:
    metadata = {"name": name, "tenant": tenant, "updatedAt": at(hours=-1)}
    target = {"kind": "SecurityPolicy", "name": "p"}
    spec = {"type": "edited_both", "target": target, **spec}
    return Case(Object.of({"kind": "Conflict", "metadata": metadata, "spec": spec}))


def edited(**spec: Any) -> Case:
    facts = {
        "override": {"name": "o", "tenant": "common", "scope": "site"},
        "reason": "line 7",
        "runs": "merge",
        **spec.pop("facts", {}),
    }
    proposals = [{"name": "acceptGlobal", "spec": GLOBAL}, {"name": "keepLocal", "spec": LOCAL}]
    sides = {"base": BASE, "local": LOCAL, "global": GLOBAL, "fields": ["rules[a].action"]}
    return case(**{"facts": facts, "proposals": proposals, **sides, **spec})


def shown(
    what: Callable[[Screen], None], *, width: int = 200, options: tuple[str, ...] = ()
) -> str:
    file = io.StringIO()
    what(Screen(Console(file=file, width=width, highlight=False, emoji=False), NOW, options))
    return file.getvalue()


def screen_of(case: Case, **more: Any) -> str:
    return shown(lambda screen: show_case(case, screen), **more)


def test_the_most_pressing_comes_first() -> None:
    ordered = [
        case("a", deadline=at(hours=-1)),
        case("b", urgency="deferrable", deadline=at(hours=-2)),
        case("c", urgency="immediate", deadline=at(hours=1)),
        case("d", urgency="immediate", deadline=at(hours=2)),
        case("e", urgency="immediate"),
        case("f"),
        case("g", urgency="deferrable", deadline=at(hours=2)),
        case("h", urgency="unheard-of"),
        case("i", urgency="immediate", state="deferred"),
        case("j", urgency="immediate", state="resolved"),
    ]
    mixed = random.Random(4711).sample(ordered, len(ordered))
    assert [each.name for each in sorted(mixed, key=lambda each: each.rank(NOW))] == list(
        "abcdefghij"
    )


def test_a_list_says_until_when() -> None:
    cases = [
        edited(name="late", deadline=at(hours=-3)),
        edited(name="soon", deadline=at(minutes=20)),
        edited(name="off", state="deferred", deadline=at(hours=1), deferred={"until": at(days=2)}),
        edited(name="done", state="resolved", deadline=at(hours=1)),
    ]
    text = shown(lambda screen: show_list(cases, screen, wide=False))
    assert [line.split()[4:] for line in text.splitlines()] == [
        ["DUE"],
        ["3h", "late"],
        ["in", "20m"],
        ["in", "2d"],
        [],
    ]


def test_what_an_exception_cannot_set_is_no_difference() -> None:
    text = screen_of(edited())
    assert "enforcement" not in text
    assert "  allow   deny    reject\n" in text


@pytest.mark.parametrize(
    ("runs", "sentence", "accepted"),
    [
        ("merge", "the merge of both runs; where both", "~ rules[a].action: deny → reject"),
        ("keepLocal", "the override runs as it is", "~ rules[a].action: deny → reject"),
        ("applyGlobal", "what is inherited runs", "what runs now goes on"),
    ],
)
def test_a_proposal_says_what_it_changes_of_what_runs(
    runs: str, sentence: str, accepted: str
) -> None:
    conflict = edited(facts={"runs": runs})
    assert f"Until it is decided, {sentence}" in screen_of(conflict)
    assert accepted in shown(lambda screen: show_choice(conflict, "acceptGlobal", screen))


def test_a_merge_that_is_not_valid_does_not_run() -> None:
    # One side needs StartTLS no more, the other only with it: merged, passwords go in the clear.
    base, local, inherited = (
        {"ldap": {"base": "dc=x", "servers": [server], **more}}
        for server, more in (
            ("ldaps://d.example", {"startTls": True}),
            ("ldaps://d.example", {}),
            ("ldap://d.example", {"startTls": True}),
        )
    )
    conflict = edited(
        target={"kind": "AuthenticationPolicy", "name": "people"},
        fields=[],
        proposals=[{"name": "acceptGlobal", "spec": inherited}],
        **{"base": base, "local": local, "global": inherited},
    )
    text = screen_of(conflict)
    assert "together they are no valid AuthenticationPolicy" in text
    assert "Until it is decided, the override runs as it is" in text
    assert "~ ldap.servers: ['ldaps://d.example'] → ['ldap://d.example']\n" in text
    assert "+ ldap.startTls: true\n" in text


def test_a_deferred_one_says_until_when_by_whom_and_why() -> None:
    deferred = {"until": at(days=1), "by": "user:ann", "reason": "after the: fair"}
    text = screen_of(edited(state="deferred", deferred=deferred))
    assert "user:ann put it off until 2026-11-24 12:00 UTC: 'after the: fair'" in text
    assert "--proposal keepLocal" in text
    assert "hanse conflicts defer" not in text


def test_a_resolved_one_offers_nothing_any_more() -> None:
    decision = {"proposal": "keepLocal", "by": "user:ann", "at": at(), "reason": "agreed"}
    text = screen_of(edited(state="resolved", decision=decision))
    assert text.startswith("c: resolved, normal\n")
    assert "user:ann chose keepLocal at 2026-11-23 12:00 UTC: agreed" in text
    assert "hanse conflicts decide" not in text
    assert "    hanse conflicts undo c --reason WHY\n" in text
    assert "Until it is decided" not in text
    closed = {"at": at(), "why": "the exception is gone"}
    text = screen_of(edited(state="resolved", closed=closed))
    assert "It closed itself at 2026-11-23 12:00 UTC: the exception is gone." in text
    assert "hanse conflicts" not in text


def test_a_command_can_be_typed_as_it_stands() -> None:
    conflict = edited(name="edited-both-p-00000000")
    text = screen_of(conflict, width=40, options=("--context", "san fran"))
    command = "hanse conflicts decide edited-both-p-00000000 --proposal keepLocal --reason WHY"
    assert f"    {command} --context 'san fran'\n" in text


def test_texts_of_others_cannot_steer_the_terminal() -> None:
    text = screen_of(edited(facts={"reason": "\x1b[31mred\x1b[0m\nand on"}, name="[bold]x"))
    assert "\x1b" not in text
    assert '"\\e[31mred\\e[0m\\nand on"' in text
    assert text.startswith("[bold]x: ")


def test_a_type_of_a_later_version_is_shown_all_the_same() -> None:
    text = screen_of(case(type="tides_turned", local=LOCAL))
    assert "SecurityPolicy p: tides_turned." in text
    assert "from: any" in text
    assert "Once it is no more, it closes itself." in text


def test_another_tenant_s_and_another_scope_s_are_named() -> None:
    target = {"kind": "SecurityPolicy", "name": "p", "tenant": "lab"}
    override = {"name": "o", "tenant": "lab", "scope": "group/rack-7"}
    text = screen_of(edited(tenant="lab", target=target, facts={"override": override}))
    assert (
        "Override o (tenant lab) in group/rack-7 stands here for SecurityPolicy p (tenant lab)"
        in text
    )
    conflict = case(type="name_taken", facts={"scope": "node/n1"}, subject="node/n1")
    assert conflict.about == "node/n1"
    assert case(type="name_taken", facts={"scope": "site"}, subject="site").about == ""


def test_many_rules_are_counted() -> None:
    by = [{"rule": f"r{number}", "action": "deny", "policy": "q"} for number in range(7)]
    facts = {"rule": "a", "action": "allow", "by": by, "decided": "otherwise"}
    text = screen_of(case(type="shadowed_rule", subject="a", facts=facts), width=400)
    assert "all are taken before it by rules r0 (deny) of q, " in text
    assert "r4 (deny) of q and 2 more. Its packets are all decided the other way." in text
    facts = {**facts, "by": by[:1], "decided": "alike"}
    text = screen_of(case(type="shadowed_rule", subject="a", facts=facts), width=400)
    assert (
        "all are taken before it by rule r0 (deny) of q. Its packets are all decided as it would."
        in text
    )


def test_rules_of_other_tenants_are_only_said_to_be_there() -> None:
    facts = {"rule": "a", "action": "allow", "by": [], "byOthers": True, "extent": "part"}
    text = screen_of(case(type="contradicts_mandatory", subject="a", facts=facts))
    assert (
        "some packets of rule a (allow) of SecurityPolicy p the other way: rules of other tenants."
        in text
    )
    facts["by"] = [{"rule": "r", "action": "deny", "policy": "q"}]
    text = screen_of(case(type="contradicts_mandatory", subject="a", facts=facts))
    assert "rule r (deny) of q, and rules of other tenants." in text


def told(*changes: Any, repo: Callable[..., Path]) -> str:
    """The screen of a conflict whose one proposal leads from one repository to another."""
    before, after = (
        SitePlanner(read_repository(repo(each)).inputs("s1", now=NOW)) for each in changes
    )
    impact = site_impact(before, after)
    said = {**impact.to_json(max_boxes=0), "changes": impact.changes}
    return screen_of(edited().with_impacts([{"name": "acceptGlobal", "impact": said}]))


def test_the_impact_of_a_proposal_is_told_where_it_is_known(repo: Callable[..., Path]) -> None:
    policy = """\
apiVersion: hanse/v1
kind: SecurityPolicy
metadata: {name: apps}
spec:
  rules:
    - {name: in, from: any, to: [{network: App}], services: [{protocol: tcp, ports: [80]}], action: allow}
"""
    text = told({}, {"federation/policy.yaml": policy}, repo=repo)
    # 2^32 sources, 256 destinations, 2^16 source ports, one port.
    assert "would newly allow 72,057,594,037,927,936 packets, such as " in text
    assert "would newly deny 72,057,594,037,927,936 packets, such as " in text
    assert " tcp port 80 from port 0\n" in text
    assert "touches networks App; nodes n1\n" in text
    assert "would change no packet's verdict" in told({}, {}, repo=repo)
    assert "packet" not in screen_of(edited())


def test_an_impact_on_nodes_alone_is_no_impact_on_nothing(repo: Callable[..., Path]) -> None:
    narrower = """\
apiVersion: hanse/v1
kind: Network
metadata: {name: App, scope: node/n1}
spec: {subnets: [10.9.0.0/24]}
"""
    text = told({}, {"sites/s1/more.yaml": narrower}, repo=repo)
    assert "would change verdicts at nodes only\n" in text
    assert "nodes n1\n" in text
    assert "would change no packet's verdict" not in text


def test_a_time_may_be_said_as_how_far_it_is() -> None:
    clock = VirtualClock(NOW)
    assert moment_ahead("90m", clock) == NOW + timedelta(minutes=90)
    assert moment_ahead("2d", clock) == NOW + timedelta(days=2)
    assert moment_ahead("2027-03-31T00:00:00Z", clock) == datetime(2027, 3, 31, tzinfo=UTC)
    assert moment_ahead("2027-03-31", clock) == datetime(2027, 3, 31, tzinfo=UTC)
    for wrong in ("", "soon", "0d", "-1d", "1w", "90", "1.5h"):
        with pytest.raises(Invalid):
            moment_ahead(wrong, clock)


def test_one_for_many_rules_names_the_first_and_counts_the_rest() -> None:
    rules = [{"rule": f"r{number}", "action": "deny"} for number in range(20)]
    facts = {"count": 37, "rules": rules, "digest": "0"}
    proposals = [{"name": "acceptGlobal"}, {"name": "keepLocal"}]
    conflict = case(type="shadowed_rule", facts=facts, proposals=proposals)
    assert conflict.about == "37 rules"
    text = screen_of(conflict)
    assert (
        "No packet reaches 37 rules of SecurityPolicy p: r0 (deny), r1 (deny), r2 (deny), "
        "r3 (deny), r4 (deny) and 32 more. Rules before them take all of their packets." in text
    )
    assert "acceptGlobal: removes these rules" in text
    contradicted = case(type="contradicts_mandatory", facts=facts, proposals=proposals)
    text = screen_of(contradicted)
    assert "Mandatory policy decides packets the other way of 37 rules of SecurityPolicy p" in text
