"""What an SDSP, or `validate`, finds wrong with a site's own documents."""

from datetime import timedelta

import pytest

from shared.policy.faults.fault import new_faults
from shared.policy.faults.site import site_faults, site_warnings
from shared.policy.inputs import Document, SiteInputs
from tests.unit.shared.policy.building import (
    NOW,
    document,
    group,
    net,
    network,
    node,
    override,
    policy,
    region,
    rule,
    service,
    site,
    tenant,
    workload,
    world,
)

TCP = {"protocol": "tcp"}
PLACES = (region("west"), region("east"), tenant("blue"), tenant("red"))


def at_site(local: list[Document], *federation: Document) -> SiteInputs:
    return world([*PLACES, *federation], local, at=site(region="west"))


def faults(local: list[Document], *federation: Document) -> list[tuple[str, str, str]]:
    return [
        (each.key.name if each.key else "", each.path, each.code)
        for each in site_faults(at_site(local, *federation))
    ]


class TestPlacement:
    def test_sound_documents_have_no_faults(self) -> None:
        local = [
            group("rack"),
            node("n1", "rack"),
            workload("w", "10.0.0.1", node="n1"),
            network("A", "10.0.0.0/24", scope="group/rack"),
            policy("p", rule(to=[{"cidr": "10.0.0.0/8"}]), scope="node/n1"),
        ]
        assert faults(local) == []

    def test_unknown_groups_and_nodes(self) -> None:
        local = [
            group("a", "gone"),
            node("n1", "a", "gone"),
            workload("w", node="n9"),
            network("A", scope="group/gone"),
            policy("p", scope="node/n9"),
        ]
        assert sorted(faults(local)) == [
            ("A", "metadata.scope", "unknown_group"),
            ("a", "spec.parent", "unknown_group"),
            ("n1", "spec.groups[1]", "unknown_group"),
            ("p", "metadata.scope", "unknown_node"),
            ("w", "spec.node", "unknown_node"),
        ]

    def test_a_cycle_of_groups(self) -> None:
        assert faults([group("a", "b"), group("b", "a"), node("n1", "a")]) == [
            ("a", "spec.parent", "cycle")
        ]

    def test_scopes_tenants_and_kinds_of_a_site(self) -> None:
        local = [
            network("A", scope="region/west"),
            document("Node", "n1", scope="group/g"),
            network("B", tenant="green", scope="site"),
            document("Site", "s1", scope="site"),
        ]
        assert faults(local) == [
            ("A", "metadata.scope", "invalid_scope"),
            ("n1", "metadata.scope", "invalid_scope"),
            ("B", "metadata.tenant", "unknown_tenant"),
            ("s1", "kind", "wrong_home"),
        ]

    def test_a_site_without_its_site(self) -> None:
        inputs = at_site([network("A"), network("A")])
        elsewhere = SiteInputs("s9", inputs.federation, inputs.local, NOW)
        assert [(each.key is None, each.code) for each in site_faults(elsewhere)] == [
            (False, "duplicate"),
            (True, "unknown_site"),
        ]
        assert list(site_warnings(elsewhere)) == []


class TestPolicies:
    def test_what_only_the_federation_may_say(self) -> None:
        local = [
            policy("p", enforcement="default"),
            policy("q", sites={}),
            document(
                "BackupPolicy",
                "b",
                {"schedule": "0 0 * * *", "enforcement": "mandatory"},
                scope="site",
            ),
        ]
        assert faults(local) == [
            ("p", "spec.enforcement", "fsm_only"),
            ("q", "spec.sites", "fsm_only"),
            ("b", "spec.enforcement", "fsm_only"),
        ]

    def test_the_first_hundred_priorities_are_commons(self) -> None:
        assert faults([policy("p", priority=9, tenant="blue")]) == [
            ("p", "spec.priority", "priority_reserved")
        ]

    def test_names_are_declared_at_the_site_in_any_scope_or_upstream(self) -> None:
        local = [
            group("g"),
            network("Group", scope="group/g"),
            policy("p", rule(to=net("Group", "West", "All", "East", "Blue"))),
        ]
        upstream = [
            network("West", scope="region/west"),
            network("All"),
            network("East", scope="region/east"),
            network("Blue", tenant="blue"),
        ]
        assert faults(local, *upstream) == [
            ("p", "spec.rules[0].to[3].network", "unknown_network"),
            ("p", "spec.rules[0].to[4].network", "unknown_network"),
        ]

    @pytest.mark.parametrize("scope", ["site", "group/g", "node/n1"])
    def test_a_mandatory_policys_name_is_taken_in_every_scope(self, scope: str) -> None:
        local = [group("g"), node("n1", "g"), policy("m", scope=scope)]
        for upstream in (
            policy("m", enforcement="mandatory"),
            policy("m", enforcement="mandatory", scope="region/west"),
            policy("m", enforcement="mandatory", stage="staged"),
        ):
            assert faults(local, upstream) == [("m", "metadata.name", "mandatory_policy_exists")]
        assert faults(local, policy("m", enforcement="mandatory", scope="region/east")) == []
        elsewhere = policy("m", enforcement="mandatory", sites={"matchLabels": {"a": "b"}})
        assert faults(local, elsewhere) == []
        assert faults(local, policy("m")) == []
        assert faults(local, policy("m", enforcement="mandatory", tenant="blue")) == []

    def test_what_arrived_later_does_not_stand_in_the_way_of_another_write(self) -> None:
        mandatory = policy("m", enforcement="mandatory")
        before = list(site_faults(at_site([policy("m")], mandatory)))
        after = list(
            site_faults(at_site([policy("x", rule(to=net("no"))), policy("m")], mandatory))
        )
        assert [each.code for each in before] == ["mandatory_policy_exists"]
        assert [each.code for each in new_faults(before, after)] == ["unknown_network"]
        assert list(new_faults(after, before)) == []


class TestSealed:
    def test_a_nearer_definition_is_refused(self) -> None:
        assert faults([network("A", "10.0.0.0/8")], network("A", "10.0.0.0/8", sealed=True)) == [
            ("A", "metadata.name", "sealed")
        ]
        assert faults([service("s", TCP)], service("s", TCP, scope="region/west")) == [
            ("s", "metadata.name", "sealed")
        ]
        assert faults([service("s", TCP)], service("s", TCP, scope="region/east")) == []
        assert faults([service("s", TCP)], service("s", sealed=True)) == []
        assert faults([service("s", TCP, tenant="blue")], service("s", TCP)) == []

    def test_a_sites_own_sealed_definition_binds_groups_and_nodes(self) -> None:
        local = [
            group("outer"),
            group("inner", "outer"),
            node("n1"),
            network("A", "10.0.0.0/8", sealed=True, scope="group/outer"),
        ]
        assert faults([*local, network("A", "10.1.0.0/16", scope="group/inner")]) == [
            ("A", "metadata.name", "sealed")
        ]
        # It is no nearer than the group's on any chain.
        assert faults([*local, network("A", "10.1.0.0/16", scope="node/n1")]) == []
        assert faults([*local, network("A", "10.1.0.0/16")]) == []

    def test_of_a_nodes_two_groups_the_nearer_is_refused(self) -> None:
        local = [
            group("a"),
            group("b"),
            network("A", "10.0.0.0/8", scope="group/a"),
            network("A", "10.0.0.0/8", sealed=True, scope="group/b"),
        ]
        assert faults([*local, node("n1", "b", "a")]) == []
        assert faults([*local, node("n1", "a", "b")]) == [("A", "metadata.name", "sealed")]


class TestOverrides:
    def of(self, name: str, target: str = "p", **given: str) -> Document:
        return override(name, "SecurityPolicy", target, {"rules": []}, **given)

    def test_two_on_one_target_in_one_scope_expired_ones_too(self) -> None:
        past = (NOW - timedelta(days=1)).isoformat()
        local = [node("n1"), self.of("a", expiresAt=past), self.of("b")]
        assert faults(local, policy("p")) == [("b", "spec.target", "override_exists")]
        elsewhere = [node("n1"), self.of("a"), self.of("b", scope="node/n1"), self.of("c", "q")]
        assert faults(elsewhere, policy("p"), policy("q")) == []

    @pytest.mark.parametrize("scope", ["site", "group/g"])
    def test_one_on_what_a_local_namesake_replaces(self, scope: str) -> None:
        local = [group("g"), policy("p", scope=scope), self.of("o")]
        assert faults(local, policy("p")) == [("o", "spec.target", "override_exists")]

    def test_one_on_a_network_that_a_local_namesake_replaces(self) -> None:
        on = override("o", "Network", "A", {"subnets": ["10.0.0.0/8"]})
        upstream = network("A", "10.0.0.0/8")
        taken = [("o", "spec.target", "override_exists")]
        assert faults([on, network("A", "10.1.0.0/16")], upstream) == taken
        # A declaration replaces nothing.
        assert faults([on, network("A")], upstream) == []
        assert faults([on, network("A", "10.1.0.0/16", tenant="blue")], upstream) == []

    def test_its_spec_is_held_to_the_rules_of_policies(self) -> None:
        spec = {"priority": 5, "rules": [rule(from_=[{"cidr": "10.0.0.0/8"}], to=net("no"))]}
        on = override("o", "SecurityPolicy", "p", spec, target_tenant="blue")
        assert faults([on], policy("p", tenant="blue")) == [
            ("o", "spec.spec.priority", "priority_reserved"),
            ("o", "spec.spec.rules[0].to[0].network", "unknown_network"),
        ]

    def test_its_names_are_those_of_the_targets_tenant(self) -> None:
        spec = {"rules": [rule(to=net("Own"))]}
        on = override("o", "SecurityPolicy", "p", spec, target_tenant="blue")
        assert faults([on], policy("p", tenant="blue"), network("Own", tenant="blue")) == []

    def test_an_unknown_tenant_of_its_target(self) -> None:
        on = override("o", "SecurityPolicy", "p", {"rules": []}, target_tenant="green")
        assert faults([on]) == [("o", "spec.target.tenant", "unknown_tenant")]

    def test_a_sealed_definition_may_be_overridden(self) -> None:
        on = override("o", "Service", "s", {"entries": [TCP]})
        assert faults([on], service("s", TCP)) == []

    def test_one_without_its_target_is_a_warning_only(self) -> None:
        inputs = at_site([self.of("o")], policy("p", scope="region/east"))
        assert list(site_faults(inputs)) == []
        assert [(each.code, each.path) for each in site_warnings(inputs)] == [
            ("no_target", "spec.target")
        ]


class TestAddresses:
    def test_two_tenants_cannot_share_addresses(self) -> None:
        local = [
            network("A", "10.0.0.0/16", tenant="blue"),
            network("B", "10.0.1.0/24", tenant="red"),
            workload("w", "10.0.0.9", tenant="red"),
            workload("v", "10.0.1.9", tenant="red"),
        ]
        assert sorted(faults(local)) == [
            ("B", "spec.subnets", "address_taken"),
            ("v", "spec.addresses", "address_taken"),
            ("w", "spec.addresses", "address_taken"),
        ]

    def test_common_may_overlap_all_and_a_tenant_itself(self) -> None:
        local = [
            network("A", "10.0.0.0/16", tenant="blue"),
            network("B", "10.0.1.0/24", tenant="blue"),
            network("C", "10.0.0.0/8"),
            workload("w", "10.0.0.9"),
            workload("v", "10.0.0.9", tenant="blue"),
        ]
        assert faults(local) == []

    def test_all_views_of_the_site_count_together(self) -> None:
        local = [
            group("a"),
            group("b"),
            node("n1", "a"),
            node("n2", "b"),
            network("A", "10.0.0.0/16", tenant="blue", scope="group/a"),
            network("B", "10.0.0.0/16", tenant="red", scope="group/b"),
        ]
        assert faults(local) == [("B", "spec.subnets", "address_taken")]

    def test_what_no_view_sees_does_not_count(self) -> None:
        upstream = network("A", "10.0.0.0/16", tenant="blue")
        local = [
            network("A", "10.1.0.0/16", tenant="blue"),
            network("B", "10.0.0.0/24", tenant="red"),
        ]
        assert faults(local, upstream) == []
        assert faults(local[1:], upstream) == [("B", "spec.subnets", "address_taken")]

    def test_an_overrides_subnets_count_until_it_expires(self) -> None:
        on = override(
            "o",
            "Network",
            "A",
            {"subnets": ["10.0.0.0/24"]},
            target_tenant="blue",
            expiresAt=(NOW + timedelta(days=1)).isoformat(),
        )
        local = [on, network("B", "10.0.0.0/16", tenant="red")]
        inputs = at_site(local, network("A", "10.9.0.0/16", tenant="blue"))
        assert {each.code for each in site_faults(inputs)} == {"address_taken"}
        later = SiteInputs("s1", inputs.federation, inputs.local, NOW + timedelta(days=2))
        assert list(site_faults(later)) == []

    def test_an_overlap_is_found_behind_nested_runs_of_ones_own(self) -> None:
        local = [
            network("A", "10.0.0.0/8", tenant="blue"),
            network("B", "10.0.0.0/24", tenant="blue"),
            network("C", "10.200.0.0/24", tenant="red"),
            network("D", "2001:db8::/32", tenant="red"),
            workload("w", "2001:db8::1", tenant="blue"),
        ]
        assert sorted(faults(local)) == [
            ("C", "spec.subnets", "address_taken"),
            ("w", "spec.addresses", "address_taken"),
        ]


class TestWarnings:
    def test_an_unresolved_name_in_a_rule_that_is_not_allow(self) -> None:
        upstream = [
            network("X"),
            network("Y", "10.0.0.0/8"),
            policy(
                "p",
                rule("a", to=net("X")),
                rule("d", to=net("X"), action="deny"),
                rule("r", to=net("Y", "X"), action="reject"),
                rule("n", from_=net("X"), action="pass"),
            ),
        ]
        found = list(site_warnings(at_site([], *upstream)))
        assert {each.code for each in found} == {"unresolved_name"}
        assert [each.path for each in found] == [
            "spec.rules[1].to[0].network",
            "spec.rules[2].to[1].network",
            "spec.rules[3].from[0].network",
        ]
        assert "(deny) is not installed" in found[0].message
        assert "(reject) is installed without it" in found[1].message

    def test_the_nodes_that_miss_a_name_are_named_together(self) -> None:
        local = [
            group("g"),
            node("n1", "g"),
            node("n2"),
            network("X", "10.0.0.0/8", scope="group/g"),
        ]
        (found,) = site_warnings(
            at_site(local, network("X"), policy("p", rule(to=net("X"), action="deny")))
        )
        assert "at site s1; n2:" in found.message
