"""Worked examples; that everything is exact is held by tests/property/test_shadows.py."""

from dataclasses import replace
from typing import Any

import pytest

from shared.algebra.cidrs import AddressSet, parse_cidrs
from shared.algebra.ports import PortMatch
from shared.policy.nodeconfig import Packet
from shared.policy.shadows.findings import Contradiction, Shadowed
from shared.policy.shadows.rules import ResolvedRule, RuleName
from shared.policy.shadows.site import Shadows

SSH = (PortMatch(6, (22, 23)),)
WEB = (PortMatch(6, (80, 81, 443, 444)),)


def rule(
    name: str,
    action: Any,
    source: str | None,
    destination: str | None = None,
    services: tuple[PortMatch, ...] | None = None,
    *,
    tier: Any = "local",
    **more: Any,
) -> ResolvedRule:
    origin = "local" if tier == "local" else "federation"
    return ResolvedRule(
        RuleName(tier, "common", "p", name, more.pop("origin", origin), action),
        addresses(source),
        addresses(destination),
        services,
        **more,
    )


def addresses(text: str | None) -> AddressSet | None:
    return None if text is None else parse_cidrs(text.split())


def findings(*rules: ResolvedRule) -> list[Any]:
    return [*Shadows(rules).findings]


def test_a_rule_under_two_that_only_together_cover_it_is_shadowed_by_both() -> None:
    left = rule("left", "allow", "10.0.0.0/25")
    right = rule("right", "allow", "10.0.0.128/25")
    inner = rule("inner", "allow", "10.0.0.0/24", "10.9.0.0/16", SSH)
    assert findings(left, right, inner) == [
        Shadowed(inner.name, (left.name, right.name), "alike", None)
    ]


def test_of_rules_that_could_shadow_the_one_that_does_so_alone_is_named() -> None:
    small = [rule(f"host-{last}", "deny", f"10.0.0.{last}/32") for last in range(20)]
    wide = rule("wide", "allow", "10.0.0.0/8")
    inner = rule("inner", "allow", "10.0.0.0/24", None, WEB)
    (found,) = findings(*small, wide, inner)
    assert (found.by, found.decided) == ((wide.name,), "both")
    assert found.example == Packet(4, 10 << 24, 0, 6, 0, 80)


def test_a_rule_that_some_packet_reaches_is_not_shadowed() -> None:
    left = rule("left", "allow", "10.0.0.0/25")
    right = rule("right", "allow", "10.0.0.128/26")
    assert findings(left, right, rule("inner", "deny", "10.0.0.0/24")) == []


def test_a_rule_that_can_match_nothing_shadows_nothing_and_is_not_shadowed() -> None:
    everything = rule("everything", "deny", None)
    nothing = rule("nothing", "allow", "10.0.0.0/8", "fd00::/8")
    foreign = rule("foreign", "allow", "10.0.0.0/8", within=AddressSet())
    assert findings(everything, nothing, foreign) == []
    assert findings(nothing, foreign, rule("after", "allow", "10.0.0.0/8")) == []


def test_a_local_allow_under_a_mandatory_deny_contradicts_it() -> None:
    mandatory = rule("no-ssh", "reject", "10.0.0.0/8", None, SSH, tier="mandatory")
    local = rule("ssh", "allow", "10.1.0.0/16 192.168.0.0/16", "10.2.0.0/16", SSH)
    assert findings(mandatory, local) == [
        Contradiction(
            local.name,
            (mandatory.name,),
            "part",
            Packet(4, 0x0A010000, 0x0A020000, 6, 0, 22),
        )
    ]
    inside = rule("inside", "allow", "10.1.0.0/16", "10.2.0.0/16", SSH)
    whole, shadowed = sorted(findings(mandatory, inside), key=lambda each: type(each).__name__)
    assert (whole.extent, shadowed.decided) == ("whole", "otherwise")


@pytest.mark.parametrize(
    ("tier", "origin", "action"),
    [
        pytest.param("local", "local", "reject", id="it does the same"),
        pytest.param("local", "local", "pass", id="it decides nothing"),
        pytest.param("default", "region/north", "allow", id="the site didn't write it"),
        pytest.param("default", "override", "allow", id="it is an exception to a default policy"),
    ],
)
def test_what_is_no_contradiction(tier: Any, origin: str, action: Any) -> None:
    mandatory = rule("no", "deny", "10.0.0.0/8", tier="mandatory")
    other = rule("other", action, "10.0.0.0/7", tier=tier, origin=origin)
    assert findings(mandatory, other) == []


def test_a_local_policy_in_place_of_a_default_one_can_contradict() -> None:
    mandatory = rule("no", "deny", "10.0.0.0/8", tier="mandatory")
    local = rule("yes", "allow", "10.0.0.0/7", tier="default", origin="local")
    (found,) = findings(mandatory, local)
    assert isinstance(found, Contradiction)


def test_pass_lets_through_to_the_next_tier_and_shadows_in_its_own() -> None:
    through = rule("through", "pass", "10.1.0.0/16", tier="mandatory")
    stop = rule("stop", "deny", "10.0.0.0/8", tier="mandatory")
    after = rule("after", "allow", "10.1.0.0/16", tier="mandatory")
    local = rule("local", "allow", "10.1.0.0/16")
    assert findings(through, stop, after, local) == [
        Shadowed(after.name, (through.name,), "otherwise", Packet(4, 0x0A010000, 0, 6, 0, 0))
    ]
    # In its own tier a pass ends the way, whatever comes after it.
    assert [each.rule for each in findings(replace_tier(through), local)] == [local.name]


def replace_tier(given: ResolvedRule) -> ResolvedRule:
    return replace(given, name=given.name._replace(tier="local", origin="local"))


def test_tenants_rules_cover_only_what_has_an_end_at_the_tenant() -> None:
    own = parse_cidrs(["10.1.0.0/16"])
    tenant = rule("tenant", "allow", None, within=own)
    outside = rule("outside", "deny", "10.2.0.0/16", "10.3.0.0/16")
    to_it = rule("to-it", "deny", "10.2.0.0/16", "10.1.2.0/24")
    assert [each.rule for each in findings(tenant, outside, to_it)] == [to_it.name]


def test_of_two_rules_of_one_name_it_is_said_that_they_are() -> None:
    one, other = rule("one", "allow", "10.0.0.0/8"), rule("other", "deny", "10.0.0.0/8")
    with pytest.raises(ValueError, match="two rules are called one in policy p"):
        Shadows([one, other, one])
    shadows = Shadows([one, other])
    with pytest.raises(ValueError, match="two rules are called one in policy p"):
        shadows.update([one, other, one])
    assert [each.rule for each in shadows.findings] == [other.name]


def test_a_change_says_what_opened_and_what_closed() -> None:
    hosts = [rule(f"host-{last}", "allow", f"10.0.0.{last}/32") for last in range(30)]
    wide, inner = (
        rule("wide", "deny", "10.0.0.0/8"),
        rule("inner", "allow", "10.0.0.7/32", None, SSH),
    )
    shadows = Shadows([*hosts, wide, inner])
    (before,) = shadows.findings
    assert before == Shadowed(inner.name, (hosts[7].name,), "alike", None)
    changes = shadows.update([*hosts[:7], *hosts[8:], wide, inner])
    (after,) = shadows.findings
    packet = Packet(4, 0x0A000007, 0, 6, 0, 22)
    assert after == Shadowed(inner.name, (wide.name,), "otherwise", packet)
    assert (changes.opened, changes.closed) == ((after,), (before,))
    changes = shadows.update([*hosts[:7], *hosts[8:], inner, wide])
    assert (changes.opened, changes.closed) == ((), (after,))
    assert shadows.update([*hosts[:7], *hosts[8:], inner, wide]).opened == ()
    assert shadows.update([]).closed == ()
