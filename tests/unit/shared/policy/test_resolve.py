"""What names and selectors stand for in a view, and what is unresolved."""

from typing import Any

import pytest

from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, SiteInputs
from tests.unit.shared.policy.building import (
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

A, B, C, D = "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24", "10.0.4.0/24"


def resolved(inputs: SiteInputs, at: str | None = None) -> dict[str, Any]:
    """The first rule as answers show it; the whole answer if none is installed."""
    answer = SitePlanner(inputs).plan(at).to_json()
    return answer["rules"][0] if answer["rules"] else answer


def to_x(*local: Document, federation: tuple[Document, ...] = (), **given: Any) -> SiteInputs:
    """A world whose one rule goes to network X."""
    asking = policy("p", rule(to=net("X")), **given)
    return world(
        [region("west"), tenant("blue"), tenant("red"), *federation, asking],
        local,
        at=site(region="west"),
    )


class TestNetworks:
    def test_the_nearest_definition_with_subnets_counts(self) -> None:
        inputs = to_x(
            group("g"),
            node("n1", "g"),
            network("X", scope="node/n1"),
            network("X", C, scope="group/g"),
            federation=(network("X", A), network("X", B, scope="region/west")),
        )
        assert resolved(inputs)["to"] == [B]
        assert resolved(inputs, "n1")["to"] == [C]
        assert resolved(inputs, "n1")["names"] == [
            {"reference": "network:X", "tenant": "common", "scope": "group/g"}
        ]

    def test_a_site_without_its_own_uses_the_inherited_default(self) -> None:
        assert resolved(to_x(federation=(network("X", A),)))["to"] == [A]
        assert resolved(to_x(network("X"), federation=(network("X", A),)))["to"] == [A]

    def test_both_families_are_kept_and_printed_minimal(self) -> None:
        own = network(
            "X", "10.0.1.128/25", "2001:db8::/65", "10.0.1.0/25", "2001:db8:0:0:8000::/65"
        )
        found = resolved(to_x(own, federation=(network("X"),)))
        assert found["to"] == ["10.0.1.0/24", "2001:db8::/64"]

    def test_a_vlan_is_shown_where_there_is_one(self) -> None:
        found = resolved(to_x(network("X", A, vlan=7), federation=(network("X"),)))
        assert found["names"][0]["vlan"] == 7

    def test_a_declared_name_without_subnets_is_unresolved(self) -> None:
        answer = resolved(to_x(federation=(network("X"),)))
        assert answer["rules"] == []
        assert answer["unresolved"] == [
            {
                "policy": "p",
                "tenant": "common",
                "rule": "r",
                "side": "to",
                "reference": "network:X",
            }
        ]

    def test_a_name_that_went_away_upstream_is_unresolved_too(self) -> None:
        assert resolved(to_x())["unresolved"][0]["reference"] == "network:X"


class TestTenantsNames:
    def test_a_tenants_own_name_wins_over_commons(self) -> None:
        inputs = to_x(network("X", B, tenant="blue"), federation=(network("X", A),), tenant="blue")
        assert resolved(inputs)["to"] == [B]
        assert resolved(inputs)["names"][0]["tenant"] == "blue"

    def test_a_tenants_declaration_without_subnets_hides_commons(self) -> None:
        inputs = to_x(
            federation=(network("X", A), network("X", tenant="blue")),
            tenant="blue",
        )
        assert resolved(inputs)["unresolved"][0]["reference"] == "network:X"

    def test_a_name_the_tenant_does_not_declare_is_commons(self) -> None:
        inputs = to_x(federation=(network("X", A), network("X", B, tenant="red")), tenant="blue")
        assert resolved(inputs)["to"] == [A]

    def test_a_declaration_off_the_asking_chain_does_not_count(self) -> None:
        inputs = to_x(
            group("g"),
            node("n1", "g"),
            node("n2"),
            network("X", B, tenant="blue", scope="group/g"),
            federation=(network("X", A),),
            tenant="blue",
        )
        assert resolved(inputs)["to"] == [A]
        assert resolved(inputs, "n2")["to"] == [A]
        assert resolved(inputs, "n1")["to"] == [B]

    def test_a_common_policy_never_means_a_tenants_name(self) -> None:
        inputs = to_x(federation=(network("X", A, tenant="blue"), network("X")))
        assert resolved(inputs)["rules"] == []


class TestSealing:
    def test_a_nearer_definition_does_not_count_under_a_sealed_one(self) -> None:
        inputs = to_x(
            network("X", C),
            federation=(network("X", A, sealed=True), network("X", B, scope="region/west")),
        )
        assert resolved(inputs)["to"] == [A]

    def test_a_sealed_declaration_without_subnets_seals_nothing(self) -> None:
        inputs = to_x(network("X", C), federation=(network("X", sealed=True),))
        assert resolved(inputs)["to"] == [C]

    def test_a_definition_sealed_nearer_wins_over_those_farther(self) -> None:
        inputs = to_x(
            group("g"),
            node("n1", "g"),
            network("X", B, sealed=True),
            network("X", C, scope="group/g"),
            federation=(network("X", A),),
        )
        assert resolved(inputs, "n1")["to"] == [B]

    def test_a_tenant_may_declare_its_own_beside_a_sealed_one(self) -> None:
        inputs = to_x(
            network("X", B, tenant="blue"),
            federation=(network("X", A, sealed=True),),
            tenant="blue",
        )
        assert resolved(inputs)["to"] == [B]

    def test_services_of_the_fsm_are_sealed_unless_they_say_otherwise(self) -> None:
        tcp = {"protocol": "tcp", "ports": [1]}
        own = {"protocol": "tcp", "ports": [2]}
        asking = policy("p", rule(services=[{"service": "s"}]))
        assert ports(world([service("s", tcp), asking], [service("s", own)])) == ["1"]
        assert ports(world([service("s", tcp, sealed=False), asking], [service("s", own)])) == ["2"]

    def test_a_sites_own_service_is_not_sealed_by_itself(self) -> None:
        asking = policy("p", rule(services=[{"service": "s"}]), scope="site")
        inputs = world(
            [],
            [
                node("n1"),
                service("s", {"protocol": "tcp", "ports": [1]}),
                service("s", {"protocol": "tcp", "ports": [2]}, scope="node/n1"),
                asking,
            ],
        )
        assert ports(inputs, "n1") == ["2"]


def ports(inputs: SiteInputs, at: str | None = None) -> Any:
    return resolved(inputs, at)["services"][0]["ports"]


class TestOverriddenNames:
    def test_an_override_of_a_network_shows_as_override(self) -> None:
        inputs = to_x(
            override("o", "Network", "X", {"subnets": [C], "vlan": 9}),
            federation=(network("X", A, sealed=True),),
        )
        assert resolved(inputs)["to"] == [C]
        assert resolved(inputs)["names"] == [
            {"reference": "network:X", "tenant": "common", "scope": "override", "vlan": 9}
        ]

    def test_an_override_of_a_declaration_gives_it_a_meaning(self) -> None:
        inputs = to_x(override("o", "Network", "X", {"subnets": [C]}), federation=(network("X"),))
        assert resolved(inputs)["to"] == [C]

    def test_an_overridden_network_is_selected_by_the_targets_labels(self) -> None:
        asking = policy("p", rule(to=[{"networks": {"matchLabels": {"zone": "a"}}}]))
        inputs = world(
            [network("X", A, labels={"zone": "a"}), asking],
            [override("o", "Network", "X", {"subnets": [C]})],
        )
        assert resolved(inputs)["to"] == [C]

    def test_a_sealed_service_may_be_overridden(self) -> None:
        inputs = world(
            [
                service("s", {"protocol": "tcp", "ports": [1]}),
                policy("p", rule(services=[{"service": "s"}])),
            ],
            [override("o", "Service", "s", {"entries": [{"protocol": "udp", "ports": [9]}]})],
        )
        assert resolved(inputs)["services"] == [{"protocol": "udp", "ports": ["9"]}]
        assert resolved(inputs)["names"][0]["scope"] == "override"

    def test_an_override_of_what_only_the_site_defines_has_no_effect(self) -> None:
        inputs = to_x(network("X", B), override("o", "Network", "X", {"subnets": [C]}))
        assert resolved(inputs)["to"] == [B]


ZONE_A = [{"networks": {"matchLabels": {"zone": "a"}}}]


class TestNetworksSelectors:
    def test_only_the_winning_definitions_labels_are_matched(self) -> None:
        asking = policy("p", rule(to=ZONE_A))
        federation = [network("X", A, labels={"zone": "a"}), network("Y", B), asking]
        local = [network("X", C, labels={"zone": "b"}), network("Y", D, labels={"zone": "a"})]
        found = resolved(world(federation, local))
        assert found["to"] == [D]
        assert [each["reference"] for each in found["names"]] == ["network:Y"]

    def test_names_come_in_name_order(self) -> None:
        asking = policy("p", rule(from_=net("c"), to=[{"networks": {}}, *net("c")]))
        federation = [network(name, A) for name in ("b", "c", "a", "B")]
        found = resolved(world([*federation, asking]))
        assert [each["reference"] for each in found["names"]] == [
            "network:c",
            "network:B",
            "network:a",
            "network:b",
        ]

    def test_a_name_without_subnets_is_passed_over_and_not_unresolved(self) -> None:
        asking = policy("p", rule(to=ZONE_A))
        federation = [network("X", labels={"zone": "a"}), network("Y", B, labels={"zone": "a"})]
        answer = SitePlanner(world([*federation, asking])).plan().to_json()
        assert answer["rules"][0]["to"] == [B]
        assert answer["unresolved"] == []

    def test_a_common_policy_sees_every_tenants_networks(self) -> None:
        asking = policy("p", rule(to=ZONE_A))
        given = [
            network("X", A, labels={"zone": "a"}),
            network("X", B, tenant="blue", labels={"zone": "a"}),
            network("Z", C, tenant="red", labels={"zone": "a"}),
        ]
        found = resolved(world([tenant("blue"), tenant("red"), *given, asking]))
        assert found["to"] == [A, "10.0.2.0/23"]
        assert [(each["reference"], each["tenant"]) for each in found["names"]] == [
            ("network:X", "blue"),
            ("network:X", "common"),
            ("network:Z", "red"),
        ]

    def test_a_tenants_policy_sees_its_own_and_what_of_commons_it_does_not_declare(self) -> None:
        asking = policy("p", rule(to=ZONE_A), tenant="blue")
        given = [
            network("X", A, labels={"zone": "a"}),
            network("X", tenant="blue"),
            network("Y", B, labels={"zone": "a"}),
            network("Z", C, tenant="red", labels={"zone": "a"}),
            network("W", D, tenant="blue", labels={"zone": "a"}),
        ]
        found = resolved(world([tenant("blue"), tenant("red"), *given, asking]))
        assert found["to"] == [B, D]

    def test_a_selector_that_matches_nothing_is_empty_and_not_unresolved(self) -> None:
        answer = SitePlanner(world([policy("p", rule(to=ZONE_A))])).plan().to_json()
        assert answer["rules"] == []
        assert answer["unresolved"] == []


class TestWorkloads:
    LOCAL = (
        workload("a", "10.9.0.1", labels={"tier": "db"}),
        workload("b", "10.9.0.2", "2001:db8::2", labels={"tier": "db"}, tenant="blue"),
        workload("c", "10.9.0.3", labels={"tier": "db"}, tenant="red"),
        workload("d", "10.9.0.4", labels={"tier": "web"}),
    )
    DB = ({"workloads": {"matchLabels": {"tier": "db"}}},)

    def test_a_common_policy_selects_every_tenants(self) -> None:
        found = resolved(world([policy("p", rule(to=list(self.DB)))], self.LOCAL))
        assert found["to"] == ["10.9.0.1/32", "10.9.0.2/31", "2001:db8::2/128"]
        assert found["names"] == []

    def test_a_tenants_policy_selects_its_own_and_commons(self) -> None:
        asking = policy("p", rule(to=list(self.DB)), tenant="blue")
        found = resolved(world([asking], self.LOCAL))
        assert found["to"] == ["10.9.0.1/32", "10.9.0.2/32", "2001:db8::2/128"]

    @pytest.mark.parametrize(
        ("operator", "values", "expected"),
        [
            ("NotIn", ["db"], ["10.9.0.4/32"]),
            ("DoesNotExist", [], []),
            ("Exists", [], ["10.9.0.1/32", "10.9.0.2/31", "10.9.0.4/32", "2001:db8::2/128"]),
        ],
    )
    def test_expressions(self, operator: str, values: list[str], expected: list[str]) -> None:
        term = {"key": "tier", "operator": operator, **({"values": values} if values else {})}
        asking = policy("p", rule(to=[{"workloads": {"matchExpressions": [term]}}]))
        found = resolved(world([asking], self.LOCAL))
        assert found.get("to", []) == expected


class TestEmptyLists:
    def test_a_partly_resolved_rule_is_installed_with_what_did_resolve(self) -> None:
        asking = policy("p", rule(to=net("X", "Y"), action="deny"))
        planner = SitePlanner(world([network("X", A), network("Y"), asking]))
        answer = planner.plan().to_json()
        assert answer["rules"][0]["to"] == [A]
        assert [each["reference"] for each in answer["unresolved"]] == ["network:Y"]

    def test_a_rule_with_an_empty_list_is_not_installed_and_never_any(self) -> None:
        rules = [
            rule("from", from_=net("Y"), action="deny"),
            rule("to", to=net("Y"), action="deny"),
            rule("services", services=[{"service": "s"}], action="deny"),
            rule("both", from_=net("Y"), to=net("Y"), services=[{"service": "s"}]),
        ]
        plan = SitePlanner(world([network("Y"), service("s"), policy("p", *rules)])).plan()
        assert plan.rules == ()
        assert [
            (each.rule.rule, each.missing.side, each.missing.reference) for each in plan.unresolved
        ] == [
            ("from", "from", "network:Y"),
            ("to", "to", "network:Y"),
            ("services", "services", "service:s"),
            ("both", "from", "network:Y"),
            ("both", "to", "network:Y"),
            ("both", "services", "service:s"),
        ]
        assert plan.policies[0].is_partial

    def test_a_name_missing_twice_in_a_list_is_told_once(self) -> None:
        asking = policy("p", rule(from_=net("Y", "Y")))
        assert len(list(SitePlanner(world([network("Y"), asking])).plan().unresolved)) == 1

    def test_an_uninstalled_allow_leaves_its_policy_whole(self) -> None:
        asking = policy("p", rule(from_=net("Y")))
        assert not SitePlanner(world([network("Y"), asking])).plan().policies[0].is_partial

    def test_the_place_of_an_unresolved_name_is_known(self) -> None:
        asking = policy("p", rule(), rule("s", to=net("X", "Y")))
        (gap,) = SitePlanner(world([network("X", A), network("Y"), asking])).plan().unresolved
        assert gap.rule.path(gap.missing) == "spec.rules[1].to[1].network"
        local = [override("o", "SecurityPolicy", "p", {"rules": [rule(to=net("Y"))]})]
        (gap,) = SitePlanner(world([network("Y"), asking], local)).plan().unresolved
        assert gap.rule.path(gap.missing) == "spec.spec.rules[0].to[0].network"


class TestServices:
    def services(self, *given: Any, federation: tuple[Document, ...] = ()) -> Any:
        asking = policy("p", rule(services=list(given)))
        return resolved(world([*federation, asking]))["services"]

    def test_ports_are_merged_by_protocol_in_order_of_first_mention(self) -> None:
        found = self.services(
            {"protocol": "udp", "ports": [53]},
            {"protocol": "tcp", "ports": [80, "81-90"]},
            {"protocol": 17, "ports": ["54"]},
            {"protocol": 47},
            {"protocol": "icmp"},
        )
        assert found == [
            {"protocol": "udp", "ports": ["53-54"]},
            {"protocol": "tcp", "ports": ["80-90"]},
            {"protocol": 47},
            {"protocol": "icmp"},
        ]

    def test_different_source_ports_stay_apart(self) -> None:
        found = self.services(
            {"protocol": "tcp", "ports": [80], "sourcePorts": ["1-5", "4-9"]},
            {"protocol": "tcp", "ports": [443]},
            {"protocol": "tcp", "ports": [81], "sourcePorts": ["1-9"]},
        )
        assert found == [
            {"protocol": "tcp", "ports": ["80-81"], "sourcePorts": ["1-9"]},
            {"protocol": "tcp", "ports": ["443"]},
        ]

    def test_all_ports_are_any(self) -> None:
        assert self.services({"protocol": "tcp"}, {"protocol": "tcp", "ports": [80]}) == [
            {"protocol": "tcp"}
        ]
        assert self.services({"protocol": "tcp", "ports": ["0-99", "100-65535"]}) == [
            {"protocol": "tcp"}
        ]

    def test_one_any_makes_the_whole_any(self) -> None:
        assert self.services({"protocol": "tcp"}, {"protocol": "any"}) == "any"
        everything = service("all", {"protocol": "any"})
        assert self.services({"service": "all"}, {"protocol": 6}, federation=(everything,)) == "any"

    def test_a_services_names_are_kept_beside_any(self) -> None:
        asking = policy("p", rule(services=[{"service": "all"}, {"service": "all"}]))
        found = resolved(world([service("all", {"protocol": "any"}), asking]))
        assert [each["reference"] for each in found["names"]] == ["service:all"]


class TestWithin:
    def test_a_tenants_rule_is_bound_to_its_own_addresses_as_the_view_sees_them(self) -> None:
        local = [
            group("g"),
            node("n1", "g"),
            network("Own", B, tenant="blue"),
            network("Own", C, tenant="blue", scope="group/g"),
            workload("w", "10.9.0.1", tenant="blue"),
            workload("other", "10.9.0.2"),
        ]
        inputs = world([tenant("blue"), network("Z", A), policy("p", tenant="blue")], local)
        assert resolved(inputs)["within"] == [B, "10.9.0.1/32"]
        assert resolved(inputs, "n1")["within"] == [C, "10.9.0.1/32"]

    def test_a_common_rule_is_not_bound(self) -> None:
        assert "within" not in resolved(world([policy("p")]))

    def test_a_tenant_without_addresses_has_rules_that_match_nothing(self) -> None:
        assert resolved(world([tenant("blue"), policy("p", tenant="blue")]))["within"] == []
