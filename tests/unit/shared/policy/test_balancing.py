"""What balancers come to, by the smallest sites that show it."""

from typing import Any

from shared.policy.balancing import Gap
from shared.policy.compile import SitePlanner
from shared.policy.faults.federation import federation_faults
from shared.policy.faults.site import site_faults, site_warnings
from shared.policy.inputs import Document, Documents, SiteInputs
from shared.policy.leading import Leading
from shared.policy.nodeplan import node_configuration
from tests.unit.shared.policy.building import (
    document,
    network,
    node,
    override,
    packet,
    service,
    tenant,
    workload,
    world,
)

MAY = document("ServicePolicy", "services", {"services": {"loadBalancer": "optional"}})
SHOP = {
    "network": "V",
    "ports": [{"protocol": "tcp", "port": 80}],
    "backends": {"workloads": {"matchLabels": {"app": "shop"}}},
}
APP = {"app": "shop"}


def balancer(name: str = "shop", **given: Any) -> Document:
    metadata = {key: given.pop(key) for key in ("scope", "tenant") if key in given}
    return document("LoadBalancer", name, {**SHOP, **given}, **metadata)


def at_site(*local: Document, federation: tuple[Document, ...] = ()) -> SiteInputs:
    own = [
        node("n1", services=["loadBalancer"]),
        network("V", "10.9.0.1/32"),
        workload("client", "10.0.0.1", node="n1"),
        workload("s1", "10.0.0.5", labels=APP),
        workload("s2", "2001:db8::5", labels=APP),
    ]
    return world([MAY, tenant("blue"), *federation], [*own, *local])


def codes(inputs: SiteInputs) -> list[tuple[str, str]]:
    return [(each.path, each.code) for each in site_faults(inputs)]


def told(inputs: SiteInputs) -> list[tuple[str, str]]:
    return [(each.path, each.code) for each in site_warnings(inputs)]


def gaps(inputs: SiteInputs) -> list[Gap]:
    return [gap for each in SitePlanner(inputs).balancers() for gap in each.gaps]


def test_backends_are_of_the_family_of_the_address() -> None:
    inputs = at_site(balancer(), network("V", "10.9.0.1/32", "2001:db8:9::1/128"))
    found = node_configuration(inputs, "n1").balancers
    assert found is not None
    assert {each.address: each.backends for each in found} == {"10.9.0.1": ("10.0.0.5",)}

    both = world([MAY], [network("V", "10.9.0.1/32", "2001:db8:9::1/128"), *_but_v(inputs)])
    found = node_configuration(both, "n1").balancers
    assert found is not None
    assert {each.address: each.backends for each in found} == {
        "10.9.0.1": ("10.0.0.5",),
        "2001:db8:9::1": ("2001:db8::5",),
    }


def _but_v(inputs: SiteInputs) -> list[Document]:
    return [each for each in inputs.local if each.key.name != "V"]


def test_a_global_balancer_holds_no_address_and_names_what_is_declared() -> None:
    inherited = Documents([balancer(addresses=["10.9.0.1"], ports=[{"service": "no"}])])
    found = [(each.path, each.code) for each in federation_faults(inherited)]
    assert found == [
        ("spec.addresses[0]", "address_in_global_policy"),
        ("spec.network", "unknown_network"),
        ("spec.ports[0].service", "unknown_service"),
    ]


def test_a_tenants_balancer_claims_addresses_of_its_own_only() -> None:
    theirs = balancer(tenant="blue")
    assert codes(at_site(theirs)) == [("spec.network", "unknown_network")]
    assert gaps(at_site(theirs))[0].why == "foreign_network"
    own = network("V", "10.9.0.2/32", tenant="blue")
    assert codes(at_site(theirs, own)) == []
    # Its backends are its own and those of common.
    red = workload("s3", "10.0.0.6", labels=APP, tenant="red")
    blue = workload("s4", "10.0.0.7", labels=APP, tenant="blue")
    inputs = at_site(theirs, own, red, blue)
    found = node_configuration(inputs, "n1").balancers
    assert found is not None
    assert [each.backends for each in found] == [("10.0.0.5", "10.0.0.7")]


def test_an_address_is_no_workloads_and_no_other_balancers() -> None:
    assert codes(at_site(balancer(), workload("w", "10.9.0.1"))) == [
        ("spec.network", "address_taken")
    ]
    assert codes(at_site(balancer(), balancer("two"))) == [("spec.ports", "address_taken")]
    other = balancer("two", ports=[{"protocol": "tcp", "port": 81}])
    assert codes(at_site(balancer(), other)) == []


def test_what_a_balancer_lacks_is_told_and_nothing_guessed() -> None:
    lacking = balancer(
        network="W",
        ports=[{"service": "none"}, {"service": "icmp-only"}],
        backends={"workloads": {"matchLabels": {"app": "nobody"}}},
    )
    ping = service("icmp-only", {"protocol": "icmp"})
    inputs = at_site(lacking, network("W"), service("none"), ping)
    assert codes(inputs) == []
    assert told(inputs) == [
        ("spec.network", "unresolved_name"),
        ("spec.ports[0].service", "unresolved_name"),
        ("spec.ports[1].service", "no_ports"),
        ("spec.backends", "no_backends"),
    ]
    assert node_configuration(inputs, "n1").balancers == ()


def test_an_override_gives_a_global_balancer_its_address() -> None:
    wide = network("Front", "10.9.9.0/24")
    inherited = balancer(network="Front")
    assert codes(at_site(wide, federation=(network("Front"), inherited))) == [
        ("spec.network", "too_many_addresses")
    ]
    spec = {**SHOP, "network": "Front", "addresses": ["10.9.9.7"]}
    exempt = override("o", "LoadBalancer", "shop", spec)
    inputs = at_site(wide, exempt, federation=(network("Front"), inherited))
    assert codes(inputs) == []
    found = node_configuration(inputs, "n1").balancers
    assert found is not None
    assert [each.address for each in found] == ["10.9.9.7"]


def test_only_a_client_at_a_node_that_balances_is_led() -> None:
    away = (node("n2"), workload("other", "10.0.0.2", node="n2"))
    leading = Leading(SitePlanner(at_site(balancer(), *away)))
    led = leading.lead(packet("10.0.0.1", "10.9.0.1", port=80), None)
    assert led is not None
    assert led.chosen == packet("10.0.0.1", "10.0.0.5", port=80)
    assert leading.lead(packet("10.0.0.1", "10.9.0.1", port=80), "n2") is None
    assert leading.lead(packet("10.0.0.2", "10.9.0.1", port=80), None) is None
    assert leading.lead(packet("10.0.0.1", "10.9.0.1", port=81), None) is None
