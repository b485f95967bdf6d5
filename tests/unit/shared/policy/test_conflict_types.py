"""Types of conflict beside those of rules and exceptions: what is one, and what looks like one."""

from typing import Any

from shared.ids import Key
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import find_conflicts
from shared.policy.conflicts.remarks import NO_REMARKS, Remarks, WentBack
from shared.policy.inputs import Document, SiteInputs
from tests.unit.shared.policy.building import (
    document,
    net,
    network,
    node,
    override,
    policy,
    rule,
    tenant,
    world,
)


def found(inputs: SiteInputs, type_: str, remarks: Remarks = NO_REMARKS) -> list[Finding]:
    return [each for each in find_conflicts(SitePlanner(inputs), remarks) if each.type == type_]


class TestOverlappingNetworks:
    def overlaps(self, *networks: Document, rules: Any = None) -> list[Finding]:
        apart = [rule("a", to=net("A")), rule("b", to=net("B"), services=SSH)]
        return found(world([], [*networks, policy("p", *(rules or apart), scope="site")]), TYPE)

    def test_two_names_for_the_same_addresses_are_one(self) -> None:
        own = [network(name, "10.0.0.0/24", scope="site") for name in "AB"]
        (each,) = self.overlaps(*own)
        assert (each.target.name, each.subject, each.facts["part"]) == ("A", "common/B", "same")
        assert each.facts["shared"] == ["10.0.0.0/24"]

    def test_names_that_share_some_addresses_are_one(self) -> None:
        (each,) = self.overlaps(
            network("A", "10.0.0.0/24", "10.0.2.0/24", scope="site"),
            network("B", "10.0.1.0/24", "10.0.2.128/25", scope="site"),
        )
        assert (each.facts["part"], each.facts["shared"]) == ("partly", ["10.0.2.128/25"])

    def test_a_part_of_a_larger_network_is_none_unless_they_are_one_vlan(self) -> None:
        campus = network("A", "10.0.0.0/8", scope="site", vlan=7)
        assert self.overlaps(campus, network("B", "10.1.0.0/24", scope="site")) == []
        assert self.overlaps(campus, network("B", "10.1.0.0/24", scope="site", vlan=8)) == []
        (each,) = self.overlaps(campus, network("B", "10.1.0.0/24", scope="site", vlan=7))
        assert (each.facts["part"], each.facts["vlan"]) == ("around", 7)

    def test_names_that_the_same_rules_name_are_none(self) -> None:
        own = [network(name, "10.0.0.0/24", scope="site") for name in "AB"]
        together = [rule("a", to=[*net("A"), *net("B")])]
        assert self.overlaps(*own, rules=together) == []
        across = [rule("a", from_=net("A"), to=net("B"))]
        assert len(self.overlaps(*own, rules=across)) == 1

    def test_one_that_no_rule_names_is_none(self) -> None:
        own = [network(name, "10.0.0.0/24", scope="site") for name in "AB"]
        assert self.overlaps(*own, rules=[rule("a", to=net("A"))]) == []

    def test_a_tenant_is_told_of_common_and_of_no_other_tenant(self) -> None:
        def of(name: str, *rules: dict[str, Any]) -> list[Document]:
            own = network("N", f"10.{len(name)}.0.0/24", scope="site", tenant=name, vlan=9)
            return [own, policy(f"of-{name}", *rules, scope="site", tenant=name)]

        uses = rule("r", to=net("N"))
        common = [
            network("C", "10.4.0.0/24", scope="site"),
            policy("p", rule("c", to=net("C")), scope="site"),
        ]
        inputs = world(
            [tenant("acme"), tenant("rival")], [*of("acme", uses), *of("rival", uses), *common]
        )
        overlaps = {(each.owner, each.subject): each for each in found(inputs, TYPE)}
        assert overlaps.keys() == {("acme", "common/C"), ("acme", "vlan/9"), ("rival", "vlan/9")}
        assert overlaps["acme", "vlan/9"].facts == {"other": None, "vlan": 9}
        assert "rival" not in str(overlaps["acme", "common/C"])


TYPE = "overlapping_networks"
SSH = [{"protocol": "tcp", "ports": ["22"]}]


class TestNameTakenByDefault:
    inherited = policy("p", rule("theirs"))
    key = Key("SecurityPolicy", "common", "federation", "p")

    def local(self, revision: int, scope: str = "site") -> Document:
        own = policy("p", rule("mine"), scope=scope)
        return Document(own.key, own.spec, revision=revision)

    def taken(self, *local: Document, **after: int) -> list[Finding]:
        inputs = world([self.inherited], [node("n1"), *local])
        scopes = {name.replace("n1", "node/n1"): value for name, value in after.items()}
        return found(inputs, "name_taken", Remarks(arrived={self.key: scopes}))

    def test_one_that_came_after_the_local_one_is_a_conflict(self) -> None:
        (each,) = self.taken(self.local(7), site=7)
        assert (each.subject, each.urgency, each.facts["counts"]) == ("site", "normal", "local")
        assert [proposal.name for proposal in each.proposals] == [
            "acceptGlobal",
            "keepLocal",
            "askFederation",
        ]

    def test_whoever_wrote_the_local_one_since_knew_of_it(self) -> None:
        assert self.taken(self.local(9), site=7) == []
        assert self.taken(self.local(9)) == []

    def test_one_for_a_node_counts_where_it_stands(self) -> None:
        (each,) = self.taken(self.local(7, "node/n1"), n1=7)
        assert each.subject == "node/n1"

    def test_an_exception_that_stands_in_its_place_knows_it(self) -> None:
        exception = override("o", "SecurityPolicy", "p", {"rules": [rule("mine")]})
        assert self.taken(Document(exception.key, exception.spec, revision=7), site=7) == []

    def test_a_mandatory_one_is_one_conflict_and_not_two(self) -> None:
        mandatory = policy("p", rule("theirs"), enforcement="mandatory")
        inputs = world([mandatory], [self.local(7)])
        remarks = Remarks(arrived={self.key: {"site": 7}})
        (each,) = found(inputs, "name_taken", remarks)
        assert (each.urgency, each.facts["counts"]) == ("immediate", "inherited")


class TestUpstreamWentBack:
    key = Key("SecurityPolicy", "common", "federation", "p")
    now = policy("p", rule("old"), enforcement="mandatory")
    noted = Remarks(
        went_back={
            key: WentBack(
                before=5,
                generation=3,
                known=policy("p", rule("new"), enforcement="mandatory").spec.to_json(),
            )
        }
    )

    def test_both_versions_can_be_had(self) -> None:
        (each,) = found(world([self.now], []), "upstream_went_back", self.noted)
        assert (each.urgency, each.facts["before"], each.facts["generation"]) == ("immediate", 5, 3)
        accept, keep = each.proposals
        assert (accept.name, keep.name) == ("acceptGlobal", "keepLocal")
        assert keep.spec["rules"][0]["name"] == "new"
        assert accept.spec == each.inherited
        assert "enforcement" not in keep.spec

    def test_an_exception_settles_it(self) -> None:
        exception = override("o", "SecurityPolicy", "p", {"rules": [rule("new")]})
        assert found(world([self.now], [exception]), "upstream_went_back", self.noted) == []

    def test_what_is_as_it_was_known_did_not_go_back(self) -> None:
        known = policy("p", rule("new"), enforcement="mandatory")
        assert found(world([known], []), "upstream_went_back", self.noted) == []
        assert found(world([], []), "upstream_went_back", self.noted) == []


class TestLocalLoginForbidden:
    def forbidden(self, *local: Document, **fields: Any) -> list[Finding]:
        spec = {"providers": ["ldap"], "ldap": LDAP, "enforcement": "mandatory", **fields}
        login = document("AuthenticationPolicy", "corporate", spec)
        return found(world([login], local), "local_login_forbidden")

    def user(self, **spec: Any) -> Document:
        return document("User", "eve", spec or {"credential": "eve"}, scope="site")

    def test_users_who_cannot_log_in_are_counted(self) -> None:
        (each,) = self.forbidden(self.user())
        assert (each.target.name, each.facts["users"]) == ("corporate", 1)

    def test_nobody_who_could_log_in_is_no_conflict(self) -> None:
        assert self.forbidden() == []
        assert self.forbidden(self.user(credential="eve", disabled=True)) == []
        assert self.forbidden(self.user(displayName="Eve")) == []

    def test_forbidden_users_are_out_whatever_the_providers(self) -> None:
        order = {"providers": ["ldap", "local"]}
        assert self.forbidden(self.user(), **order) == []
        assert len(self.forbidden(self.user(), **order, localUsers="forbidden")) == 1

    def test_a_default_policy_forbids_nothing_that_the_site_could_not_allow(self) -> None:
        assert self.forbidden(self.user(), enforcement="default") == []

    def test_an_own_policy_by_another_name_is_one_and_a_namesake_another_type(self) -> None:
        own = document("AuthenticationPolicy", "ours", {}, scope="site")
        (each,) = self.forbidden(own)
        assert (each.facts["users"], each.facts["policies"]) == (0, ["ours"])
        namesake = document("AuthenticationPolicy", "corporate", {}, scope="site")
        assert self.forbidden(namesake) == []

    def test_an_exception_that_lets_them_in_is_known(self) -> None:
        exception = override("o", "AuthenticationPolicy", "corporate", {})
        assert self.forbidden(self.user(), exception) == []


LDAP = {"servers": ["ldaps://ldap.example"], "base": "dc=example"}


class TestScheduleDiffers:
    def differs(self, name: str = "ours", **own: Any) -> list[Finding]:
        mandatory = {"schedule": "30 2 * * *", "enforcement": "mandatory"}
        nightly = document("BackupPolicy", "nightly", mandatory)
        ours = document("BackupPolicy", name, {"schedule": "30 2 * * *", **own}, scope="site")
        return found(world([nightly], [ours]), "schedule_differs")

    def test_other_times_to_the_same_place_differ(self) -> None:
        (each,) = self.differs(schedule="0 4 * * *")
        assert (each.target.name, each.subject, each.urgency) == ("nightly", "ours", "deferrable")
        (each,) = self.differs(timezone="Europe/Berlin")
        assert each.facts["schedule"] == {"schedule": "30 2 * * *", "timezone": "Europe/Berlin"}

    def test_the_same_times_do_not_nor_those_to_another_place(self) -> None:
        assert self.differs() == []
        assert self.differs(schedule="0 4 * * *", destination="offsite") == []

    def test_a_namesake_is_suspended_which_is_another_type(self) -> None:
        assert self.differs("nightly", schedule="0 4 * * *") == []
