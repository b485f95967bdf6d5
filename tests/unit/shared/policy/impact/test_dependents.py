"""What depends on an object, and by what chain: the smallest sites that tell."""

from shared.ids import Key
from shared.policy.compile import SitePlanner
from shared.policy.impact.dependents import changed_objects, dependents
from shared.policy.impact.site import site_impact
from shared.policy.inputs import Document, SiteInputs
from tests.unit.shared.policy.building import (
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


def chains(inputs: SiteInputs, *targets: Document, tests: tuple[Document, ...] = ()) -> list[str]:
    """Return each dependent's chain, without scopes."""
    found = dependents([each.key for each in targets], inputs, tests=tests)
    return [" <- ".join(f"{key.kind} {key.name}" for key in each.chain) for each in found]


def test_a_network_is_used_by_a_policy_and_that_is_excepted_from() -> None:
    app, db = network("App"), network("Database")
    three_tier = policy("three-tier", rule(from_=net("App"), to=net("Database")))
    local = network("App", "10.0.0.0/24")
    exception = override("legacy-ftp", "SecurityPolicy", "three-tier", {"rules": [rule()]})
    here = world([app, db, three_tier, policy("other")], [local, exception])
    expected = [
        "Network App <- SecurityPolicy three-tier",
        "Network App <- SecurityPolicy three-tier <- Override legacy-ftp",
    ]
    assert chains(here, app) == expected
    assert chains(here, here.local.of_kind("Network")[0]) == expected
    assert chains(here, three_tier) == ["SecurityPolicy three-tier <- Override legacy-ftp"]
    assert chains(here, exception) == []


def test_an_override_stands_for_its_target_and_uses_what_it_names() -> None:
    app, other = network("App", "10.0.0.0/24"), network("Other", "10.1.0.0/24")
    users = policy("p", rule(to=net("App")))
    moved = override("moved", "Network", "App", {"subnets": ["10.2.0.0/24"]})
    inner = override("inner", "SecurityPolicy", "p", {"rules": [rule(to=net("Other"))]})
    here = world([app, other, users], [moved, inner])
    assert chains(here, moved) == [
        "Override moved <- SecurityPolicy p",
        "Override moved <- SecurityPolicy p <- Override inner",
    ]
    assert chains(here, other) == ["Network Other <- Override inner"]


def test_places_carry_what_is_in_them() -> None:
    west, bay = region("west"), region("bay", "west")
    rack, shelf = group("rack"), group("shelf", "rack")
    n1 = node("n1", "shelf")
    here = world(
        [west, bay, document("SecurityPolicy", "r", {"rules": [rule()]}, scope="region/bay")],
        [
            *(rack, shelf, n1, workload("w1", "10.0.0.1", node="n1"), workload("w2", "10.0.0.2")),
            network("Near", "10.0.0.0/24", scope="node/n1"),
        ],
        at=site(region="bay"),
    )
    assert chains(here, west) == [
        "Region west <- Region bay",
        "Region west <- Region bay <- SecurityPolicy r",
        "Region west <- Region bay <- Site s1",
    ]
    assert chains(here, rack) == [
        "NodeGroup rack <- NodeGroup shelf",
        "NodeGroup rack <- NodeGroup shelf <- Node n1",
        "NodeGroup rack <- NodeGroup shelf <- Node n1 <- Network Near",
        "NodeGroup rack <- NodeGroup shelf <- Node n1 <- Workload w1",
    ]


def test_a_name_is_the_tenant_s_own_where_it_declares_it() -> None:
    mine, theirs = network("A", "10.0.0.0/24", tenant="blue"), network("A", "10.1.0.0/24")
    blue = policy("p", rule(to=net("A")), tenant="blue")
    red = policy("q", rule(to=net("A")), tenant="red")
    here = world([tenant("blue"), tenant("red"), mine, theirs, blue, red])
    assert chains(here, mine) == ["Network A <- SecurityPolicy p"]
    assert chains(here, theirs) == ["Network A <- SecurityPolicy q"]
    (whole,) = [each for each in here if each.key.kind == "Tenant" and each.key.name == "blue"]
    assert chains(here, whole) == [
        "Tenant blue <- Network A",
        "Tenant blue <- SecurityPolicy p",
    ]


def test_what_labels_choose_is_depended_on_within_the_tenant_s_sight() -> None:
    labels = {"tier": "db"}
    one = workload("one", "10.0.0.1", labels=labels)
    blue_one = workload("blue-one", "10.0.1.1", labels=labels, tenant="blue")
    far = network("Far", "10.9.0.0/24", labels=labels)
    peers = [{"workloads": {"matchLabels": labels}}, {"networks": {"matchLabels": labels}}]
    everybody = policy("all", rule(to=peers))
    reds = policy("reds", rule(from_=peers), tenant="red")
    others = policy("others", rule(to=[{"workloads": {"matchLabels": {"tier": "web"}}}]))
    here = world([tenant("blue"), tenant("red"), everybody, reds, others, far], [one, blue_one])
    both = ["SecurityPolicy all", "SecurityPolicy reds"]
    assert chains(here, one) == [f"Workload one <- {each}" for each in both]
    assert chains(here, blue_one) == ["Workload blue-one <- SecurityPolicy all"]
    assert chains(here, far) == [f"Network Far <- {each}" for each in both]


def test_tests_of_the_site_depend_on_what_they_name() -> None:
    def case(name: str, at: str) -> Document:
        flows = [
            {
                "from": {"network": "App"},
                "to": {"workload": "w"},
                "service": "web",
                "expect": "deny",
            }
        ]
        return document("PolicyTest", name, {"site": at, "node": "n1", "flows": flows})

    app, web = network("App"), service("web", {"protocol": "tcp", "ports": [443]})
    here = world([app, web], [node("n1"), workload("w", "10.0.0.1")])
    tests = (case("mine", "s1"), case("theirs", "s2"))
    for target in here:
        expected = [f"{target.key.kind} {target.key.name} <- PolicyTest mine"]
        assert chains(here, target, tests=tests) == expected, target.key


def test_what_is_gone_is_looked_up_where_it_was() -> None:
    app, user = network("App"), policy("p", rule(to=net("App")))
    before, after = world([app, user]), world([user])
    assert changed_objects(before, after) == [app.key]
    impact = site_impact(SitePlanner(before), SitePlanner(after))
    assert [each.to_json() for each in impact.dependents] == [
        {
            "kind": "SecurityPolicy",
            "tenant": "common",
            "scope": "federation",
            "name": "p",
            "chain": ["Network App (federation)", "SecurityPolicy p (federation)"],
        }
    ]


def test_so_many_are_told_and_the_others_counted() -> None:
    app = network("App", "10.0.0.0/24")
    users = [policy(f"p{number:03}", rule(to=net("App"))) for number in range(120)]
    before = world([app, *users])
    after = world([network("App", "10.0.1.0/24"), *users])
    told = site_impact(SitePlanner(before), SitePlanner(after)).to_json(max_boxes=0)
    assert (len(told["dependents"]), told["moreDependents"]) == (100, 20)
    assert [each["name"] for each in told["dependents"]][:2] == ["p000", "p001"]


def test_what_goes_round_in_circles_ends() -> None:
    here = world([region("a", "b"), region("b", "a")])
    assert dependents([Key("Region", "common", "federation", "a")], here)


def test_who_was_chosen_before_and_is_not_now_is_told_too() -> None:
    chooser = policy("p", rule(to=[{"workloads": {"matchLabels": {"tier": "db"}}}]))
    before = world([chooser], [workload("w", "10.0.0.1", labels={"tier": "db"})])
    after = world([chooser], [workload("w", "10.0.0.1", labels={"tier": "web"})])
    for old, new in ((before, after), (after, before)):
        found = dependents(changed_objects(old, new), new, old)
        assert [str(each.key) for each in found] == ["SecurityPolicy p (federation)"]


def test_an_override_that_turns_to_another_target_stands_for_both() -> None:
    names = [network("A", "10.0.0.0/24"), network("B", "10.1.0.0/24")]
    users = [policy(f"uses-{each.key.name}", rule(to=net(each.key.name))) for each in names]
    spec = {"subnets": ["10.2.0.0/24"]}
    before = world([*names, *users], [override("o", "Network", "A", spec)])
    after = world([*names, *users], [override("o", "Network", "B", spec)])
    found = dependents(changed_objects(before, after), after, before)
    assert [each.key.name for each in found] == ["uses-A", "uses-B"]


def test_an_object_that_changes_itself_is_no_dependent() -> None:
    before = world([network("A", "10.0.0.0/24"), policy("p", rule(to=net("A")))])
    after = world([network("A", "10.1.0.0/24"), policy("p", rule("q", to=net("A")))])
    assert dependents(changed_objects(before, after), after, before) == []
