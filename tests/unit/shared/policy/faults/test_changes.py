"""What a change takes away from others."""

from collections.abc import Sequence

from shared.policy.compile import SitePlanner
from shared.policy.faults.changes import hidings, in_use, would_unresolve
from shared.policy.faults.federation import federation_faults
from shared.policy.inputs import Document, Documents, SiteInputs
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
    world,
)

FEDERATION = Documents(
    [
        region("west"),
        site("s1", region="west"),
        tenant("blue"),
        network("A"),
        network("A", scope="region/west"),
        network("B"),
        service("ssh", {"protocol": "tcp", "ports": [22]}),
        network("Own", tenant="blue"),
        policy("p", rule(to=net("B"), services=[{"service": "ssh"}])),
        policy("q", rule(to=net("A")), scope="region/west"),
    ]
)


def refused(*names: tuple[str, str]) -> list[str]:
    deleted = [each for each in FEDERATION if (each.key.kind, each.key.name) in names]
    after = FEDERATION.changed(delete=[each.key for each in deleted])
    found = in_use(deleted, federation_faults(FEDERATION), federation_faults(after))
    return sorted(f"{each.key.kind} {each.key.name}" for each in found if each.key)


def test_what_something_names_cannot_be_deleted() -> None:
    assert refused(("Network", "B")) == ["Network B"]
    assert refused(("Service", "ssh")) == ["Service ssh"]
    assert refused(("Tenant", "blue")) == ["Tenant blue"]
    # The site, the network and the policy there hang on it.
    assert refused(("Region", "west")) == ["Region west"] * 3


def test_what_is_deleted_with_all_that_names_it_is_not_in_use() -> None:
    assert refused(("Network", "B"), ("SecurityPolicy", "p")) == []
    assert refused(("Tenant", "blue"), ("Network", "Own")) == []


def test_a_name_that_is_declared_further_out_is_not_lost() -> None:
    inner = FEDERATION.get(network("A", scope="region/west").key)
    assert inner is not None
    after = FEDERATION.changed(delete=[inner.key])
    assert list(in_use([inner], federation_faults(FEDERATION), federation_faults(after))) == []


def unresolving(before: SiteInputs, after: SiteInputs) -> list[tuple[str, str]]:
    found = would_unresolve(SitePlanner(before), SitePlanner(after))
    return [(each.rule.rule, each.missing.reference) for each in found]


def states(
    asking: Sequence[Document], before: list[Document], after: list[Document]
) -> tuple[SiteInputs, SiteInputs]:
    upstream = [network("X"), network("Y", "10.9.0.0/16"), *asking]
    return world(upstream, before), world(upstream, after)


class TestWouldUnresolve:
    ASKING = (policy("p", rule(to=net("X", "Y")), rule("s", from_=net("X"))),)
    X = network("X", "10.0.0.0/24")

    def test_a_name_that_an_installed_rule_uses(self) -> None:
        found = unresolving(*states(self.ASKING, [self.X], []))
        assert found == [("r", "network:X")]

    def test_a_name_that_was_unresolved_before_is_not_told_again(self) -> None:
        assert unresolving(*states(self.ASKING, [], [])) == []
        assert unresolving(*states(self.ASKING, [], [network("Z", "10.0.0.0/24")])) == []

    def test_a_new_policy_may_name_what_is_unresolved(self) -> None:
        new = policy("new", rule(to=net("X")), scope="site")
        assert unresolving(*states([], [], [new])) == []

    def test_a_nodes_view_counts(self) -> None:
        places = [group("g"), node("n1", "g"), node("n2")]
        near = network("X", "10.0.0.0/24", scope="group/g")
        assert unresolving(*states(self.ASKING, [*places, near], places)) == [("r", "network:X")]
        # A node that leaves the group loses the name as well.
        moved = [group("g"), node("n1"), node("n2"), near]
        assert unresolving(*states(self.ASKING, [*places, near], moved)) == [("r", "network:X")]

    def test_a_deleted_node_misses_nothing(self) -> None:
        places = [group("g"), node("n1", "g")]
        near = network("X", "10.0.0.0/24", scope="group/g")
        assert unresolving(*states(self.ASKING, [*places, near], [group("g")])) == []


class TestHidings:
    def hidden(self, local: list[Document], *federation: Document) -> list[tuple[str, list[str]]]:
        found = hidings(SitePlanner(world(federation, local)))
        return [(each.document.key.name, [key.name for key in each.policies]) for each in found]

    X = network("X", "10.0.0.0/8")
    OWN = network("X", "10.1.0.0/16")

    def test_of_subnets_that_a_mandatory_rule_uses(self) -> None:
        asking = policy("m", rule(to=net("X")), enforcement="mandatory")
        assert self.hidden([self.OWN], self.X, asking) == [("X", ["m"])]
        selecting = policy("m", rule(to=[{"networks": {}}]), enforcement="mandatory")
        assert self.hidden([self.OWN], self.X, selecting) == [("X", ["m"])]

    def test_not_of_a_mere_declaration_nor_by_one(self) -> None:
        asking = policy("m", rule(to=net("X")), enforcement="mandatory")
        assert self.hidden([self.OWN], network("X"), asking) == []
        assert self.hidden([network("X")], self.X, asking) == []

    def test_not_of_what_only_default_local_or_overridden_rules_use(self) -> None:
        asking = policy("d", rule(to=net("X")))
        own = policy("l", rule(to=net("X")), scope="site")
        assert self.hidden([self.OWN, own], self.X, asking) == []
        mandatory = policy("m", rule(to=net("X")), enforcement="mandatory")
        on = override("o", "SecurityPolicy", "m", {"rules": [rule(to=net("X"))]})
        assert self.hidden([self.OWN, on], self.X, mandatory) == []

    def test_in_a_nodes_view_too(self) -> None:
        asking = policy("m", rule(to=net("X")), enforcement="mandatory")
        near = network("X", "10.1.0.0/16", scope="node/n1")
        assert self.hidden([node("n1"), near], self.X, asking) == [("X", ["m"])]
