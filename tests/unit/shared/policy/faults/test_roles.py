"""What Roles and RoleBindings say that can't be meant."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.access.book import Book
from shared.ids import Key
from shared.model.access import Role, RoleBinding
from shared.policy.faults.roles import binding_faults, role_faults
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


def role(name: str, scope: str, *, flows: bool = False) -> Document:
    return Document(Key("Role", "common", scope, name), Role.model_validate({"flowsDown": flows}))


def binding(to: str, scope: str, *, flows: bool = False, name: str = "b") -> Document:
    subjects = [{"kind": "User", "name": "kim"}]
    spec = RoleBinding.model_validate({"role": to, "subjects": subjects, "flowsDown": flows})
    return Document(Key("RoleBinding", "common", scope, name), spec)


def unbound(own: list[Document], inherited: list[Document]) -> list[tuple[str, str]]:
    found = binding_faults(Documents(own), Documents(inherited))
    return [(fault.path, fault.code) for fault in found]


UNKNOWN = [("spec.role", "unknown_role")]


def test_a_site_knows_the_federations_roles_that_flow_down_and_its_own() -> None:
    flowing, staying = role("nurse", "federation", flows=True), role("smith", "federation")
    assert unbound([binding("nurse", "site")], [flowing, staying]) == []
    assert unbound([binding("smith", "site")], [flowing, staying]) == UNKNOWN
    assert unbound([binding("smith", "site"), role("smith", "site")], [staying]) == []
    assert unbound([binding("viewer", "site")], []) == []
    # What a site has of its own nobody else knows.
    assert unbound([binding("smith", "federation")], []) == UNKNOWN


def test_a_binding_that_flows_down_needs_a_role_that_does() -> None:
    staying = [binding("smith", "federation", flows=True), role("smith", "federation")]
    assert unbound(staying, []) == [("spec.flowsDown", "role_stays")]
    assert unbound([binding("viewer", "federation", flows=True)], []) == []
    assert unbound([binding("smith", "federation", flows=True)], []) == UNKNOWN


def test_an_unknown_role_suggests_what_may_have_been_meant() -> None:
    found = binding_faults(
        Documents([binding("keper", "site"), role("keeper", "site")]), Documents()
    )
    assert [fault.message for fault in found] == [
        'there is no role keper here; did you mean "keeper"?'
    ]


_NAMES = st.sampled_from(["nurse", "smith", "viewer", "cook"])
_ROLES = st.lists(
    st.builds(role, _NAMES, st.sampled_from(["federation", "site"]), flows=st.booleans()).filter(
        lambda each: each.key.name != "viewer"
    ),
    max_size=4,
    # Of two documents with one key the first counts, which a store has no room for.
    unique_by=lambda each: each.key,
)


@given(roles=_ROLES, names=st.lists(_NAMES, min_size=1, max_size=3), is_site=st.booleans())
def test_a_binding_is_at_fault_where_it_would_give_nothing(roles, names, is_site) -> None:
    """What is judged of documents is what the server makes of them: see Book.has_role()."""
    home = "site" if is_site else "federation"
    bindings = [binding(each, home, name=f"b{place}") for place, each in enumerate(names)]
    inherited = [each for each in roles if is_site and each.key.scope == "federation"]
    own = [*(each for each in roles if each.key.scope == home), *bindings]
    there = [*own, *(each for each in inherited if each.spec.flows_down)]
    book = Book({each.key: each.spec for each in Documents(there)}, is_site=is_site)
    faults = binding_faults(Documents(own), Documents(inherited))
    assert {fault.key.name for fault in faults if fault.key} == {
        each.key.name for each in bindings if not book.has_role(each.spec.role)
    }
