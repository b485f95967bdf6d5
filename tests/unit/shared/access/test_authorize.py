import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.access.authorize import allows_of, authorize, may_somewhere
from shared.access.book import normal_group
from shared.access.permissions import (
    ADMIN,
    ROLES,
    Permission,
    permissions_of,
    reading,
    writing,
)
from shared.auth.identity import Caller, CallerKind, Grant
from shared.model.kinds import KINDS
from shared.model.selectors import Selector
from shared.model.verbs import READ_ONLY_KINDS, SPECIAL_VERBS, VERBS
from tests.unit.shared.access import strategies

READ, WRITE = Permission.READ_NETWORK, Permission.WRITE_NETWORK


def caller(*grants: Grant) -> Caller:
    return Caller(CallerKind.PERSON, "user:kim", "Kim", grants=grants)


def grant(*permissions: Permission, tenants=None, scopes=None) -> Grant:
    return Grant("r", frozenset(permissions), tenants, scopes)


ACME, WEST = frozenset({"acme"}), frozenset({"region/west"})


@pytest.mark.parametrize(
    ("grants", "tenant", "scope", "allowed"),
    [
        ([], None, None, False),
        ([grant(WRITE)], "acme", None, False),
        ([grant(READ)], None, None, True),
        ([grant(READ)], "acme", "federation", True),
        ([grant(READ, tenants=ACME)], "acme", "federation", True),
        ([grant(READ, tenants=ACME)], "rival", "federation", False),
        ([grant(READ, tenants=ACME)], None, None, True),
        ([grant(READ, tenants=frozenset())], "acme", None, False),
        ([grant(READ, scopes=WEST)], "acme", "federation", False),
        ([grant(READ, scopes=WEST)], "acme", "region/west", True),
        # Two grants don't make a third: the tenant of one with the permission of the other.
        ([grant(READ, tenants=ACME), grant(WRITE)], "rival", None, False),
        ([grant(READ, tenants=ACME), grant(READ, scopes=WEST)], "rival", "federation", False),
    ],
)
def test_one_grant_must_cover_all_that_is_asked(grants, tenant, scope, allowed) -> None:
    decision = authorize(caller(*grants), READ, tenant=tenant, scope=scope)
    assert decision.allowed is allowed
    assert allowed or "read:Network" in decision.reason


def test_every_kind_has_its_two_permissions_and_no_others_are_left() -> None:
    expected = {each for kind in KINDS for each in (reading(kind), writing(kind))}
    special = {each for each in Permission if each.partition(":")[2] not in KINDS}
    assert expected | special == set(Permission)
    assert {each.value for each in special} == {
        "override",
        "allot",
        "force",
        "admit",
        "decide",
        "confirm",
        "detach",
        "revoke",
        "trace",
        "read:status",
        "read:audit",
        "read:metrics",
    }


def test_roles_keep_apart_what_must_be() -> None:
    assert ROLES[ADMIN] == set(Permission)
    assert not any(each.startswith("write:") for each in ROLES["viewer"] | ROLES["auditor"])
    for role in ("policy-author", "viewer", "site-operator", "tenant-admin"):
        assert Permission.READ_AUDIT not in ROLES[role]
        assert Permission.READ_USER not in ROLES[role]
    for special in ("override", "allot", "force", "admit", "decide", "confirm", "revoke"):
        holders = {role for role, held in ROLES.items() if special in held}
        assert holders == {ADMIN, "site-operator"}, special
    # Each of these is a way to be somebody else, or to make somebody else more.
    for kind in ("Role", "RoleBinding", "User", "AuthenticationPolicy"):
        assert {role for role, held in ROLES.items() if writing(kind) in held} == {ADMIN}, kind
    assert Permission.WRITE_ADMISSION_RULE not in ROLES["policy-author"]
    assert {role for role, held in ROLES.items() if Permission.TRACE in held} == set(ROLES)


def test_every_verb_of_a_role_is_a_permission_and_the_other_way_round() -> None:
    ordinary = {each for each in Permission if ":" in each}
    assert {each.partition(":")[0] for each in ordinary} | set(SPECIAL_VERBS) == set(VERBS)
    assert {each for each in Permission if ":" not in each} == set(SPECIAL_VERBS)
    kinds = {each.partition(":")[2] for each in ordinary}
    assert kinds == {*KINDS, *READ_ONLY_KINDS}
    assert permissions_of(["*"], ["*"]) == set(Permission)
    assert permissions_of(VERBS, ["*"]) == set(Permission)


@pytest.mark.parametrize(
    ("verbs", "kinds", "expected"),
    [
        (["read"], ["Network"], {"read:Network"}),
        (["*"], ["Network"], {"read:Network", "write:Network"}),
        (["write"], ["status", "Network"], {"write:Network"}),
        (["read"], ["status"], {"read:status"}),
        (["trace", "read"], ["*"], {"trace", *(e for e in Permission if e.startswith("read:"))}),
        # Not about one kind: it must not slip in with one.
        (["override"], ["Network"], set()),
        # From a newer release.
        (["sing"], ["*"], set()),
        (["read"], ["Opera"], set()),
    ],
)
def test_verbs_on_kinds_are_these_permissions(verbs, kinds, expected) -> None:
    assert permissions_of(verbs, kinds) == expected


SHOP = Selector.model_validate({"matchLabels": {"app": "shop"}})


def test_a_grant_with_a_selector_counts_for_objects_that_it_matches_and_for_nothing_else() -> None:
    def on_shop(*permissions: Permission) -> Grant:
        return Grant(
            "r", frozenset(permissions), selector="app=shop", labels=SHOP.matches, binding="b"
        )

    kim = caller(on_shop(READ, Permission.REVOKE, Permission.READ_METRICS, Permission.READ_AUDIT))
    place = {"tenant": "common", "scope": "site"}
    for permission in (READ, Permission.REVOKE):
        decision = authorize(kim, permission, **place, labels={"app": "shop"})
        assert decision.allowed
        assert decision.grant is kim.grants[0]
        refused = authorize(kim, permission, **place, labels={"app": "till"})
        assert not refused.allowed
        assert "app=shop" in refused.reason
        assert not authorize(kim, permission, **place).allowed
        assert authorize(kim, permission).allowed
    for permission in (Permission.READ_METRICS, Permission.READ_AUDIT):
        assert not authorize(kim, permission).allowed


@given(grants=st.lists(strategies.grants(), max_size=4), data=st.data())
def test_what_is_prepared_for_many_objects_says_what_is_decided_for_one(grants, data) -> None:
    held = caller(*grants)
    tenant, scope = data.draw(strategies.TENANT), data.draw(strategies.SCOPE)
    labels = data.draw(st.none() | strategies.LABELS)
    decided = authorize(held, READ, tenant=tenant, scope=scope, labels=labels)
    assert allows_of(held, READ)(tenant, scope, labels) is decided.allowed
    if decided.allowed:
        assert decided.grant in grants
        assert may_somewhere(held, READ, tenant=tenant, scope=scope)


def test_regression_groups_whose_names_differ_by_an_escaped_comma_were_one() -> None:
    one, other = "cn=a\\, b,ou=x", "CN=a\\2Cb, OU=x"
    assert normal_group(one) != normal_group(other)
    assert normal_group(other) == normal_group("cn=A\\,b,ou=X")
    assert normal_group("Night  Watch") == "night watch"
    assert normal_group("a=") == "a="
