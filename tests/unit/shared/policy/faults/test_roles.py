"""What Roles and RoleBindings say that can't be meant."""

from typing import Any

import pytest

from shared.ids import Key
from shared.model.access import Role, RoleBinding
from shared.policy.faults.roles import role_faults
from shared.policy.inputs import Document, Documents


def faults_of(name: str, *grants: dict[str, Any]) -> list[tuple[str, str]]:
    spec = Role.model_validate({"grants": list(grants)})
    document = Document(Key("Role", "common", "federation", name), spec, {})
    return [(fault.path, fault.code) for fault in role_faults(Documents([document]))]


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        ({"verbs": ["read", "*"], "kinds": ["Network", "status", "*"]}, []),
        ({"verbs": ["override"], "kinds": ["*"]}, []),
        ({"verbs": ["raed"], "kinds": ["*"]}, [("verbs[0]", "unknown_verb")]),
        ({"verbs": ["read"], "kinds": ["networks"]}, [("kinds[0]", "unknown_kind")]),
        ({"verbs": ["read", "override"], "kinds": ["Node"]}, [("verbs[1]", "kinds_dont_limit")]),
        ({"verbs": ["write"], "kinds": ["Node", "audit"]}, [("kinds[1]", "read_only_kind")]),
        (
            {"verbs": ["read"], "kinds": ["*"], "scopes": ["site", "region"]},
            [("scopes[1]", "unknown_scope")],
        ),
    ],
)
def test_words_that_mean_nothing_are_faults(grant, expected) -> None:
    assert faults_of("mine", grant) == [(f"spec.grants[0].{path}", code) for path, code in expected]


def test_a_fault_suggests_what_may_have_been_meant() -> None:
    spec = Role.model_validate({"grants": [{"verbs": ["wirte"], "kinds": ["securitypolicies"]}]})
    document = Document(Key("Role", "common", "site", "mine"), spec, {})
    verb, kind = [fault.message for fault in role_faults(Documents([document]))]
    assert 'did you mean "write"?' in verb
    assert 'did you mean "SecurityPolicy"?' in kind


def test_a_built_in_role_can_t_be_hidden() -> None:
    assert faults_of("viewer") == [("metadata.name", "role_exists")]


def test_a_binding_s_scopes_are_scopes() -> None:
    subjects = [{"kind": "User", "name": "kim"}]
    given = {"role": "viewer", "subjects": subjects, "scopes": ["everywhere"]}
    key = Key("RoleBinding", "common", "site", "mine")
    document = Document(key, RoleBinding.model_validate(given), {})
    assert [fault.code for fault in role_faults(Documents([document]))] == ["unknown_scope"]
