import pytest

from shared.feed.accepts import is_accepted, known_fields, unknown_field
from shared.model.kinds import KINDS
from shared.model.policy import SecurityPolicy

POLICY = {
    "enforcement": "mandatory",
    "sites": {"matchLabels": {"env": "prod"}, "matchExpressions": []},
    "rules": [
        {
            "name": "r",
            "from": [{"network": "AppX"}],
            "to": [{"workloads": {"matchLabels": {"tier": "db"}}}],
            "services": [{"protocol": "tcp", "ports": ["80"]}],
            "action": "allow",
        }
    ],
}


def test_this_release_knows_all_that_it_can_write() -> None:
    SecurityPolicy.model_validate(POLICY)
    known = known_fields(*KINDS)
    assert unknown_field(POLICY, known["SecurityPolicy"]) is None
    assert set(known) == set(KINDS)


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        ("enforcement", "enforcement"),
        ("rules.from.network", "rules.from.network"),
        ("rules.services.ports", "rules.services.ports"),
        ("stage", None),
    ],
)
def test_a_field_that_isn_t_known_is_named(missing: str, found: str | None) -> None:
    known = [each for each in known_fields("SecurityPolicy")["SecurityPolicy"] if each != missing]
    assert unknown_field(POLICY, known) == found


def test_keys_that_people_choose_are_no_fields() -> None:
    known = known_fields("SecurityPolicy")["SecurityPolicy"]
    labels = {"sites": {"matchLabels": {"any.key/at-all": "x"}}, "rules": []}
    assert unknown_field(labels, known) is None


def test_who_announces_nothing_is_taken_to_know_everything() -> None:
    assert is_accepted("Anything", {"x": 1}, {})
    assert not is_accepted("Anything", {}, {"Network": ["vlan"]})
