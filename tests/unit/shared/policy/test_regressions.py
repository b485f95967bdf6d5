"""What was wrong once, each by name."""

from shared.policy.compile import SitePlanner
from shared.policy.conflicts.detect import find_conflicts
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


def test_a_base_that_spells_out_a_default_is_no_edit() -> None:
    """An exception's base may be of an earlier release, or written by hand."""
    inherited = policy("p", rule("r"), enforcement="mandatory")
    spelled = {"enforcement": "mandatory", "priority": 500, "rules": [{**rule("r"), "log": False}]}
    spec = {"rules": [rule("r", action="deny")]}
    base = {"revision": 1, "spec": spelled}
    exception = override("o", "SecurityPolicy", "p", spec, basedOn=base)
    found = find_conflicts(SitePlanner(world([inherited], [exception])))
    assert [each.type for each in found] == []
