"""Which services a node must, may and does run; and what is missing."""

import pytest

from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import find_conflicts
from shared.policy.faults.site import site_warnings
from shared.policy.inputs import Document, SiteInputs
from tests.unit.shared.policy.building import (
    document,
    node,
    override,
    region,
    site,
    tenant,
    workload,
    world,
)

LOAD_BALANCER = "loadBalancer"


def services(
    name: str = "services",
    scope: str = "federation",
    enforcement: str = "default",
    **listed: str,
) -> Document:
    spec = {"services": listed, "enforcement": enforcement}
    return document("ServicePolicy", name, spec, scope=scope)


def planned(*federation: Document, local: tuple[Document, ...] = ()) -> SitePlanner:
    places = (region("us"), region("west", "us"))
    return SitePlanner(world([*places, *federation], [node("n1"), *local], at=site(region="west")))


@pytest.mark.parametrize(
    ("listed", "declared", "runs"),
    [
        ({}, [LOAD_BALANCER], ("firewall",)),
        ({LOAD_BALANCER: "optional"}, [], ("firewall",)),
        ({LOAD_BALANCER: "optional"}, [LOAD_BALANCER], ("firewall", LOAD_BALANCER)),
        ({LOAD_BALANCER: "mandatory"}, [], ("firewall",)),
        ({LOAD_BALANCER: "mandatory"}, [LOAD_BALANCER, "dns"], ("firewall", LOAD_BALANCER)),
        ({"firewall": "optional", "dns": "optional"}, ["dns"], ("firewall",)),
    ],
)
def test_what_runs_is_declared_and_listed_and_the_firewall_always(
    listed: dict[str, str], declared: list[str], runs: tuple[str, ...]
) -> None:
    planner = planned(services(**listed)) if listed else planned()
    assert planner.requirements("n1").runs(declared) == runs


def test_one_policy_counts_the_nearest_unless_one_is_mandatory() -> None:
    far = services(loadBalancer="optional")
    near = document("ServicePolicy", "a", {"services": {}}, scope="node/n1")
    assert planned(far).requirements("n1").services == {LOAD_BALANCER: "optional"}
    assert planned(far, local=(near,)).requirements("n1").services == {}

    must = services(loadBalancer="mandatory", enforcement="mandatory")
    assert planned(must, local=(near,)).requirements("n1").mandatory == (LOAD_BALANCER,)
    # Of several mandatory ones the outermost.
    inner = services("inner", "region/west", dns="optional", enforcement="mandatory")
    assert planned(must, inner).requirements("n1").mandatory == (LOAD_BALANCER,)


def test_a_policy_of_a_tenant_is_nobody_elses_business() -> None:
    theirs = document("ServicePolicy", "a", {"services": {"dns": "mandatory"}}, tenant="blue")
    assert planned(tenant("blue"), theirs).requirements("n1").services == {}


def test_an_exception_stands_in_the_place_of_the_policy() -> None:
    exempt = override("o", "ServicePolicy", "services", {"services": {}}, scope="node/n1")
    planner = planned(services(loadBalancer="mandatory"), local=(node("n2"), exempt))
    assert planner.requirements("n1").mandatory == ()
    assert planner.requirements("n2").mandatory == (LOAD_BALANCER,)


def missing(inputs: SiteInputs, running: dict[str, tuple[str, ...]] | None = None) -> list[Finding]:
    found = find_conflicts(SitePlanner(inputs), running=running or {})
    return [each for each in found if each.type == "mandatory_service_missing"]


MUST = services(loadBalancer="mandatory")
BEARING = (workload("w1", "10.0.0.1", node="n1"), workload("w0", "10.0.0.2", node="n1"))


def test_a_node_that_does_not_declare_what_it_must_run_is_told_with_its_workloads() -> None:
    blue = workload("secret", "10.0.0.3", node="n1", tenant="blue")
    local = [node("n1"), node("n2", services=[LOAD_BALANCER]), *BEARING, blue]
    (each,) = missing(world([tenant("blue"), MUST], local))
    assert (each.target.name, each.subject, each.urgency) == (
        "services",
        "loadBalancer/n1",
        "immediate",
    )
    assert each.facts == {
        "service": LOAD_BALANCER,
        "node": "n1",
        "why": "undeclared",
        # What is a tenant's is counted, and not named to everybody.
        "workloads": ["w0", "w1"],
        "workloadCount": 3,
    }


def test_a_node_without_workloads_is_less_urgent_and_one_not_admitted_none_at_all() -> None:
    (each,) = missing(world([MUST], [node("n1"), node("n2", admission="pending")]))
    assert (each.facts["node"], each.urgency) == ("n1", "normal")


def test_a_node_that_was_heard_and_does_not_run_it_is_told() -> None:
    inputs = world([MUST], [node("n1", services=[LOAD_BALANCER]), *BEARING])
    assert missing(inputs) == [], "nobody has been heard yet"
    assert missing(inputs, {"n1": ("firewall", LOAD_BALANCER)}) == []
    (each,) = missing(inputs, {"n1": ("firewall",)})
    assert each.facts["why"] == "notRunning"


def test_a_mandatory_service_that_no_agent_knows_is_missing_whoever_declares_it() -> None:
    (each,) = missing(world([services(dns="mandatory")], [node("n1", services=["dns"])]))
    assert (each.facts["service"], each.facts["why"]) == ("dns", "undeclared")


def test_a_service_that_no_agent_knows_is_warned_of() -> None:
    inputs = world([], [node("n1", services=["firewall", "loadbalancer"])])
    assert [(each.path, each.code) for each in site_warnings(inputs)] == [
        ("spec.services[1]", "unknown_network_service")
    ]
