import pytest

from shared.access.authorize import authorize, visible_tenants
from shared.access.permissions import ADMIN, ROLES, Permission, reading, writing
from shared.auth.identity import Caller, CallerKind, Grant
from shared.model.kinds import KINDS

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


def test_the_tenants_one_sees_are_those_of_the_grants_that_let_one_read() -> None:
    assert visible_tenants(caller(grant(READ)), [READ]) is None
    assert visible_tenants(caller(grant(WRITE)), [READ]) == frozenset()
    two = caller(grant(READ, tenants=ACME), grant(WRITE, tenants=frozenset({"rival"})))
    assert visible_tenants(two, [READ]) == ACME
    assert two.tenants == {"acme", "rival"}


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
        "revoke",
        "trace",
        "read:status",
        "read:audit",
        "read:metrics",
    }


def test_roles_keep_apart_what_must_be() -> None:
    assert ROLES[ADMIN] == set(Permission)
    assert not any(each.startswith("write:") for each in ROLES["viewer"] | ROLES["auditor"])
    for role in ("editor", "viewer"):
        assert Permission.READ_AUDIT not in ROLES[role]
        assert Permission.READ_CREDENTIAL not in ROLES[role]
    for special in ("override", "allot", "force", "admit", "decide", "confirm", "revoke"):
        holders = {role for role, held in ROLES.items() if special in held}
        assert holders == {ADMIN}, special
    assert Permission.WRITE_ROLE_BINDING not in ROLES["editor"]
    assert Permission.WRITE_ADMISSION_RULE not in ROLES["editor"]
