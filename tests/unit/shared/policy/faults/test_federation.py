"""What the FSM can know to be wrong."""

from collections.abc import Iterable
from typing import ClassVar

from shared.policy.faults.federation import (
    federation_address_faults,
    federation_faults,
    policytest_faults,
)
from shared.policy.inputs import Document, Documents
from tests.unit.shared.policy.building import (
    document,
    net,
    network,
    node,
    policy,
    region,
    rule,
    service,
    site,
    tenant,
)

REGIONS = (region("west"), region("bay", "west"), region("east"))
TCP = {"protocol": "tcp"}


def faults(*documents: Document) -> list[tuple[str, str, str]]:
    found = federation_faults(Documents([*REGIONS, tenant("blue"), *documents]))
    return [(each.key.name if each.key else "", each.path, each.code) for each in found]


class TestPlacement:
    def test_sound_documents_have_no_faults(self) -> None:
        assert faults(site(region="bay"), network("A"), policy("p", rule(to=net("A")))) == []

    def test_the_same_key_twice(self) -> None:
        assert faults(network("A"), network("A", "10.0.0.0/8")) == [
            ("A", "metadata.name", "duplicate")
        ]
        assert (
            faults(network("A"), network("A", tenant="blue"), network("A", scope="region/west"))
            == []
        )

    def test_an_unknown_region(self) -> None:
        assert faults(
            network("A", scope="region/wset"), region("r", "wset"), site("s", region="wset")
        ) == [
            ("A", "metadata.scope", "unknown_region"),
            ("r", "spec.parent", "unknown_region"),
            ("s", "spec.region", "unknown_region"),
        ]

    def test_what_is_no_scope_and_what_is_no_scope_here(self) -> None:
        assert faults(
            network("A", scope="planet"), network("B", scope="site"), site("s"), tenant("t")
        ) == [
            ("A", "metadata.scope", "unknown_scope"),
            ("B", "metadata.scope", "invalid_scope"),
        ]
        misplaced = document("Region", "r", scope="region/west")
        assert faults(misplaced) == [("r", "metadata.scope", "invalid_scope")]

    def test_an_unknown_tenant(self) -> None:
        assert faults(network("A", tenant="red")) == [("A", "metadata.tenant", "unknown_tenant")]
        binding = document(
            "RoleBinding",
            "b",
            {"role": "r", "subjects": [{"kind": "User", "name": "u"}], "tenants": ["*", "red"]},
        )
        assert faults(binding) == [("b", "spec.tenants[1]", "unknown_tenant")]

    def test_a_kind_without_tenants(self) -> None:
        assert faults(document("Region", "r", tenant="blue")) == [
            ("r", "metadata.tenant", "invalid_tenant")
        ]

    def test_a_kind_that_lives_at_sites(self) -> None:
        assert faults(document("Workload", "w")) == [("w", "kind", "wrong_home")]

    def test_a_cycle_of_regions_is_told_once(self) -> None:
        assert faults(region("a", "b"), region("b", "c"), region("c", "a"), region("d", "d")) == [
            ("a", "spec.parent", "cycle"),
            ("d", "spec.parent", "cycle"),
        ]


class TestPolicies:
    def test_an_address_in_a_global_policy(self) -> None:
        rules = [
            rule("a", from_=[*net("A"), {"cidr": "10.0.0.0/8"}]),
            rule("b", to=[{"cidr": "::/0"}]),
        ]
        assert faults(network("A"), policy("p", *rules, scope="region/west")) == [
            ("p", "spec.rules[0].from[1].cidr", "address_in_global_policy"),
            ("p", "spec.rules[1].to[0].cidr", "address_in_global_policy"),
        ]

    def test_names_are_declared_at_the_policys_own_scope_or_further_out(self) -> None:
        near, far = network("Near", scope="region/bay"), network("Far", scope="region/west")
        east = network("East", scope="region/east")
        to_all = rule(to=net("Near", "Far", "East"))

        def unknown(scope: str) -> list[str]:
            found = faults(near, far, east, policy("p", to_all, scope=scope))
            assert {code for _, _, code in found} <= {"unknown_network"}
            return [path for _, path, _ in found]

        first, second, third = (f"spec.rules[0].to[{place}].network" for place in range(3))
        assert unknown("region/bay") == [third]
        assert unknown("region/west") == [first, third]
        assert unknown("federation") == [first, second, third]

    def test_names_are_the_policys_tenants_or_commons(self) -> None:
        given = (network("Own", tenant="blue"), network("All"))
        assert faults(*given, policy("p", rule(to=net("Own", "All")), tenant="blue")) == []
        assert faults(*given, policy("p", rule(to=net("Own", "All")))) == [
            ("p", "spec.rules[0].to[0].network", "unknown_network")
        ]

    def test_an_unknown_service(self) -> None:
        asking = policy("p", rule(services=[TCP, {"service": "ssh"}]))
        assert faults(asking) == [("p", "spec.rules[0].services[1].service", "unknown_service")]
        assert faults(asking, service("ssh")) == []

    def test_the_first_hundred_priorities_are_commons(self) -> None:
        assert faults(policy("p", priority=0), policy("q", priority=100, tenant="blue")) == []
        assert faults(policy("q", priority=99, tenant="blue")) == [
            ("q", "spec.priority", "priority_reserved")
        ]

    def test_a_regions_policy_under_a_mandatory_one_whatever_sites_say(self) -> None:
        other = {"matchLabels": {"a": "b"}}
        mandatory = policy("m", enforcement="mandatory", sites=other)
        for enforcement in ("mandatory", "default"):
            near = policy("m", enforcement=enforcement, scope="region/west")
            assert faults(mandatory, near) == [("m", "metadata.name", "mandatory_policy_exists")]
        outer = policy("m", enforcement="mandatory", scope="region/west")
        inner = policy("m", scope="region/bay")
        assert faults(outer, inner) == [("m", "metadata.name", "mandatory_policy_exists")]
        assert faults(outer, policy("m", scope="region/east")) == []
        assert faults(policy("m"), policy("m", enforcement="mandatory", scope="region/west")) == []

    def test_a_definition_under_a_sealed_one(self) -> None:
        sealed, near = network("A", "10.0.0.0/8", sealed=True), network("A", scope="region/bay")
        assert faults(sealed, near) == [("A", "metadata.name", "sealed")]
        ssh = service("ssh", TCP)
        assert faults(ssh, service("ssh", TCP, scope="region/west")) == [
            ("ssh", "metadata.name", "sealed")
        ]
        assert faults(ssh, service("ssh", TCP, tenant="blue")) == []
        opened = service("ssh", TCP, sealed=False)
        assert faults(opened, service("ssh", TCP, scope="region/west")) == []
        assert faults(service("ssh", sealed=True), service("ssh", TCP, scope="region/west")) == []


class TestPolicyTests:
    FLOW: ClassVar = {
        "from": {"network": "nowhere"},
        "to": {"network": "nowhere"},
        "service": "tcp/1",
        "expect": "deny",
    }

    def test_an_unknown_site_or_node(self) -> None:
        federation = Documents([site("s1")])
        tests = Documents(
            document("PolicyTest", name, {"site": at, **given, "flows": [self.FLOW]})
            for name, at, given in (
                ("a", "s1", {}),
                ("b", "s2", {}),
                ("c", "s1", {"node": "n1"}),
                ("d", "s1", {"node": "n2"}),
            )
        )
        found = policytest_faults(tests, federation, {"s1": Documents([node("n1")])})
        assert [(each.key.name, each.path, each.code) for each in found if each.key] == [
            ("b", "spec.site", "unknown_site"),
            ("d", "spec.node", "unknown_node"),
        ]
        # The FSM doesn't know nodes; names are the run's to find missing.
        assert [each.code for each in policytest_faults(tests, federation)] == ["unknown_site"]


def test_tenants_inherited_subnets_overlap_as_bare_sites_see_them() -> None:
    def overlaps(*documents: Document) -> Iterable[str]:
        given = [*REGIONS, tenant("blue"), tenant("red"), *documents]
        return [each.code for each in federation_address_faults(Documents(given))]

    blue = network("X", "10.0.0.0/8", tenant="blue")
    red = network("X", "10.1.0.0/16", tenant="red", scope="region/west")
    assert overlaps(blue, red) == []
    assert overlaps(blue, red, site("e", region="east")) == []
    assert overlaps(blue, red, site("b", region="bay"), site("c", region="bay")) == [
        "address_taken"
    ]
