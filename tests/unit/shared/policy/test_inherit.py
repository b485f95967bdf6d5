"""Which policy of a name is in force, in which tier, and what becomes of the others."""

from datetime import timedelta

from shared.policy.compile import SitePlanner
from shared.policy.inherit import effective_settings
from shared.policy.inputs import Document, SiteInputs
from shared.policy.plan import Plan
from tests.unit.shared.policy.building import (
    NOW,
    document,
    group,
    node,
    override,
    policy,
    region,
    rule,
    site,
    tenant,
    world,
)

PROD = {"matchLabels": {"env": "prod"}}


def shown(plan: Plan) -> list[tuple[str, str, str, str]]:
    """Tier, policy, rule and origin of each rule."""
    return [(each.tier, each.policy, each.rule, each.origin) for each in plan.rules]


def plan(inputs: SiteInputs, at: str | None = None, *, staged: bool = False) -> Plan:
    return SitePlanner(inputs).plan(at, staged=staged)


def in_west(*federation: Document, local: list[Document] | None = None) -> SiteInputs:
    places = [region("west"), region("bay", "west")]
    return world([*places, *federation], local or (), at=site(region="bay", labels={"env": "prod"}))


class TestSites:
    def test_a_policy_that_does_not_select_the_site_does_not_exist_there(self) -> None:
        inputs = in_west(policy("p", sites={"matchLabels": {"env": "test"}}))
        assert shown(plan(inputs)) == []

    def test_sites_is_applied_before_inheritance(self) -> None:
        nearer = policy("p", rule("near"), scope="region/bay", sites={"matchLabels": {"a": "b"}})
        farther = policy("p", rule("far"), sites=PROD)
        assert shown(plan(in_west(nearer, farther))) == [("default", "p", "far", "federation")]

    def test_a_local_policy_does_not_replace_one_that_selects_other_sites(self) -> None:
        inputs = in_west(
            policy("p", sites={"matchLabels": {"env": "test"}}), local=[policy("p", rule("own"))]
        )
        assert shown(plan(inputs)) == [("local", "p", "own", "local")]

    def test_a_mandatory_policy_for_other_sites_suspends_nothing(self) -> None:
        other = policy("m", enforcement="mandatory", sites={"matchLabels": {"env": "test"}})
        found = plan(in_west(other, local=[policy("m", rule("own"))]))
        assert shown(found) == [("local", "m", "own", "local")]
        assert list(found.suspended) == []


class TestNearest:
    def test_the_nearest_default_policy_wins_whole(self) -> None:
        inputs = in_west(
            policy("p", rule("a"), rule("b")),
            policy("p", rule("c"), scope="region/west"),
            policy("p", rule("d"), scope="region/bay"),
        )
        assert shown(plan(inputs)) == [("default", "p", "d", "region/bay")]

    def test_objects_of_other_regions_are_ignored(self) -> None:
        inputs = in_west(region("east"), policy("p", rule("e"), scope="region/east"))
        assert shown(plan(inputs)) == []

    def test_names_of_different_tenants_are_different_names(self) -> None:
        inputs = in_west(tenant("blue"), policy("p"), policy("p", tenant="blue"))
        assert [each.tenant for each in plan(inputs).policies] == ["blue", "common"]

    def test_a_group_policy_exists_only_for_nodes_of_the_group(self) -> None:
        local = [group("rack"), node("n1", "rack"), node("n2"), policy("p", scope="group/rack")]
        inputs = in_west(local=local)
        assert shown(plan(inputs)) == []
        assert shown(plan(inputs, "n2")) == []
        assert shown(plan(inputs, "n1")) == [("local", "p", "r", "local")]

    def test_a_nearer_local_policy_wins_over_the_sites(self) -> None:
        local = [
            group("rack"),
            node("n1", "rack"),
            policy("p", rule("site")),
            policy("p", rule("rack"), scope="group/rack"),
            policy("p", rule("node"), scope="node/n1"),
        ]
        inputs = in_west(local=local)
        assert shown(plan(inputs)) == [("local", "p", "site", "local")]
        assert shown(plan(inputs, "n1")) == [("local", "p", "node", "local")]


class TestReplacement:
    def test_a_local_policy_replaces_an_inherited_default_one_in_the_default_tier(self) -> None:
        inputs = in_west(
            policy("p", rule("theirs"), priority=100),
            policy("q", rule("other"), priority=300),
            local=[policy("p", rule("ours"), priority=400)],
        )
        # Its priority is its own.
        assert shown(plan(inputs)) == [
            ("default", "q", "other", "federation"),
            ("default", "p", "ours", "local"),
        ]

    def test_a_group_policy_replaces_an_inherited_default_one_for_its_nodes(self) -> None:
        local = [group("g"), node("n1", "g"), policy("p", rule("ours"), scope="group/g")]
        inputs = in_west(policy("p", rule("theirs")), local=local)
        assert shown(plan(inputs)) == [("default", "p", "theirs", "federation")]
        assert shown(plan(inputs, "n1")) == [("default", "p", "ours", "local")]

    def test_a_local_policy_is_suspended_when_a_mandatory_one_of_its_name_arrives(self) -> None:
        own = policy("m", rule("ours"))
        found = plan(in_west(policy("m", rule("theirs"), enforcement="mandatory"), local=[own]))
        assert shown(found) == [("mandatory", "m", "theirs", "federation")]
        assert [each.key.name for each in found.suspended] == ["m"]
        assert found.to_json()["suspended"] == ["SecurityPolicy m (site)"]


class TestStaged:
    def test_a_staged_policy_counts_only_when_asked(self) -> None:
        inputs = in_west(policy("p", stage="staged"))
        assert shown(plan(inputs)) == []
        assert shown(plan(inputs, staged=True)) == [("default", "p", "r", "federation")]

    def test_a_staged_local_policy_replaces_nothing(self) -> None:
        inputs = in_west(
            policy("p", rule("theirs")), local=[policy("p", rule("ours"), stage="staged")]
        )
        assert shown(plan(inputs)) == [("default", "p", "theirs", "federation")]
        assert shown(plan(inputs, staged=True)) == [("default", "p", "ours", "local")]

    def test_a_staged_mandatory_policy_suspends_nothing(self) -> None:
        inputs = in_west(
            policy("m", rule("theirs"), enforcement="mandatory", stage="staged"),
            local=[policy("m", rule("ours"))],
        )
        found = plan(inputs)
        assert shown(found) == [("local", "m", "ours", "local")]
        assert list(found.suspended) == []
        staged = plan(inputs, staged=True)
        assert shown(staged) == [("mandatory", "m", "theirs", "federation")]
        assert len(list(staged.suspended)) == 1

    def test_under_a_staged_region_policy_the_federations_stays(self) -> None:
        inputs = in_west(
            policy("p", rule("far")), policy("p", rule("near"), scope="region/bay", stage="staged")
        )
        assert shown(plan(inputs)) == [("default", "p", "far", "federation")]
        assert shown(plan(inputs, staged=True)) == [("default", "p", "near", "region/bay")]


class TestOverrides:
    def test_an_override_takes_the_targets_place(self) -> None:
        inputs = in_west(
            policy("a", enforcement="mandatory", priority=100),
            policy("m", rule("theirs"), enforcement="mandatory", priority=200),
            policy("r", enforcement="mandatory", priority=100, scope="region/bay"),
            local=[override("o", "SecurityPolicy", "m", {"rules": [rule("ours")]})],
        )
        # Its priority, left out, is 500; by the target's scope it goes before the region's.
        assert shown(plan(inputs)) == [
            ("mandatory", "a", "r", "federation"),
            ("mandatory", "m", "ours", "override"),
            ("mandatory", "r", "r", "region/bay"),
        ]

    def test_the_priority_of_an_override_is_its_own(self) -> None:
        inputs = in_west(
            policy("a", priority=300),
            policy("p", priority=900),
            local=[override("o", "SecurityPolicy", "p", {"priority": 100, "rules": [rule()]})],
        )
        assert [each.name for each in plan(inputs).policies] == ["p", "a"]

    def test_the_nearest_unexpired_override_counts(self) -> None:
        past, future = (NOW - timedelta(days=1)).isoformat(), (NOW + timedelta(days=1)).isoformat()

        def of(name: str, scope: str, **given: str) -> Document:
            spec = {"rules": [rule(name)]}
            return override(name, "SecurityPolicy", "p", spec, scope=scope, **given)

        local = [
            group("g"),
            node("n1", "g"),
            node("n2"),
            of("on-node", "node/n1", expiresAt=past),
            of("on-group", "group/g", expiresAt=future),
            of("on-site", "site"),
        ]
        inputs = in_west(policy("p"), local=local)
        assert shown(plan(inputs, "n1")) == [("default", "p", "on-group", "override")]
        assert shown(plan(inputs, "n2")) == [("default", "p", "on-site", "override")]
        later = type(inputs)(inputs.site, inputs.federation, inputs.local, NOW + timedelta(days=2))
        assert shown(plan(later, "n1")) == [("default", "p", "on-site", "override")]

    def test_an_override_expires_at_the_very_moment(self) -> None:
        local = [override("o", "SecurityPolicy", "p", {"rules": []}, expiresAt=NOW.isoformat())]
        assert shown(plan(in_west(policy("p"), local=local))) == [
            ("default", "p", "r", "federation")
        ]

    def test_an_override_without_its_target_has_no_effect(self) -> None:
        local = [override("o", "SecurityPolicy", "p", {"rules": [rule()]})]
        assert shown(plan(in_west(local=local))) == []
        elsewhere = policy("p", sites={"matchLabels": {"env": "test"}})
        assert shown(plan(in_west(elsewhere, local=local))) == []

    def test_an_override_replaces_whichever_inherited_definition_is_in_force(self) -> None:
        local = [override("o", "SecurityPolicy", "p", {"rules": [rule("ours")]})]
        inputs = in_west(
            policy("p", rule("a"), enforcement="mandatory", scope="region/bay"), policy("p")
        )
        assert shown(plan(inputs))[0][:3] == ("mandatory", "p", "a")
        inputs = type(inputs)(inputs.site, inputs.federation, type(inputs.local)(local), inputs.now)
        assert shown(plan(inputs)) == [("mandatory", "p", "ours", "override")]

    def test_an_override_of_a_mandatory_policy_counts_beside_a_suspended_one(self) -> None:
        local = [policy("m"), override("o", "SecurityPolicy", "m", {"rules": [rule("ours")]})]
        found = plan(in_west(policy("m", enforcement="mandatory"), local=local))
        assert shown(found) == [("mandatory", "m", "ours", "override")]
        assert len(list(found.suspended)) == 1

    def test_a_staged_override_leaves_the_target_in_force(self) -> None:
        spec = {"stage": "staged", "rules": [rule("ours")]}
        inputs = in_west(policy("p"), local=[override("o", "SecurityPolicy", "p", spec)])
        assert shown(plan(inputs)) == [("default", "p", "r", "federation")]
        assert shown(plan(inputs, staged=True)) == [("default", "p", "ours", "override")]

    def test_an_override_of_another_tenants_policy_is_of_that_tenant(self) -> None:
        inputs = in_west(
            tenant("blue"),
            policy("p", tenant="blue"),
            policy("p", rule("untouched")),
            local=[
                override(
                    "o", "SecurityPolicy", "p", {"rules": [rule("ours")]}, target_tenant="blue"
                )
            ],
        )
        assert [(each.tenant, each.rule) for each in plan(inputs).rules] == [
            ("blue", "ours"),
            ("common", "untouched"),
        ]


class TestLeftOut:
    def test_a_plan_says_why_each_document_does_not_count(self) -> None:
        past = (NOW - timedelta(days=1)).isoformat()
        found = plan(
            in_west(
                policy("a", sites={"matchLabels": {"env": "test"}}),
                policy("b", stage="staged"),
                policy("c"),
                policy("d", enforcement="mandatory"),
                policy("f"),
                local=[
                    policy("c"),
                    policy("d"),
                    override("e", "SecurityPolicy", "gone", {"rules": []}),
                    override("f", "SecurityPolicy", "f", {"rules": []}, expiresAt=past),
                ],
            )
        )
        assert [(each.document.key.name, each.why) for each in found.left_out] == [
            ("a", "not_selected"),
            ("b", "staged"),
            ("c", "replaced"),
            ("d", "suspended"),
            ("f", "expired"),
        ]


class TestSettings:
    def backup(self, name: str, retain: int, scope: str = "federation", **spec: object) -> Document:
        fields = {"schedule": "0 1 * * *", "retain": retain, **spec}
        return document("BackupPolicy", name, fields, scope=scope)

    def retained(self, inputs: SiteInputs) -> dict[str, int]:
        planner = SitePlanner(inputs)
        found = effective_settings(
            planner.inheritance(), planner.definitions, "BackupPolicy", planner.places.chain()
        )
        return {name.name: each.spec.retain for name, each in found.items()}  # type: ignore[attr-defined] # BackupPolicy

    def test_the_nearest_settings_win(self) -> None:
        inputs = in_west(self.backup("b", 1), local=[self.backup("b", 2, scope="site")])
        assert self.retained(inputs) == {"b": 2}

    def test_inherited_mandatory_settings_win_over_nearer_ones(self) -> None:
        inputs = in_west(
            self.backup("b", 1, enforcement="mandatory"),
            self.backup("b", 3, scope="region/bay"),
            local=[self.backup("b", 2, scope="site")],
        )
        assert self.retained(inputs) == {"b": 1}

    def test_settings_for_other_sites_do_not_count(self) -> None:
        inputs = in_west(self.backup("b", 1, sites={"matchLabels": {"env": "test"}}))
        assert self.retained(inputs) == {}
