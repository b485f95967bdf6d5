"""What was wrong once, each by name."""

from shared.policy.faults.site import site_faults
from tests.unit.shared.policy.building import override, policy, region, rule, site, world

ELSEWHERE = {"matchLabels": {"env": "elsewhere"}}


def test_a_mandatory_policy_that_does_not_select_the_site_leaves_its_name_free() -> None:
    mandatory = policy("p", enforcement="mandatory", sites=ELSEWHERE)
    assert [*site_faults(world([mandatory], [policy("p")]))] == []


def test_a_mandatory_policy_that_selects_the_site_takes_its_name() -> None:
    mandatory = policy("p", enforcement="mandatory")
    faults = site_faults(world([mandatory], [policy("p")]))
    assert [fault.code for fault in faults] == ["mandatory_policy_exists"]


def test_an_override_of_what_a_local_policy_replaces_is_refused_beside_a_mandatory_one_elsewhere() -> (
    None
):
    federation = [
        policy("p"),
        policy("p", enforcement="mandatory", sites=ELSEWHERE, scope="region/west"),
    ]
    local = [policy("p"), override("o", "SecurityPolicy", "p", {"rules": [rule()]})]
    west = [region("west")]
    faults = site_faults(world([*west, *federation], local, at=site(region="west")))
    assert [fault.code for fault in faults] == ["override_exists"]


def test_an_override_of_what_does_not_apply_here_is_not_refused_for_a_namesake() -> None:
    elsewhere = policy("p", sites=ELSEWHERE)
    local = [policy("p"), override("o", "SecurityPolicy", "p", {"rules": [rule()]})]
    assert [*site_faults(world([elsewhere], local))] == []
