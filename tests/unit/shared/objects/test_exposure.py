"""Whoever has a secret shown to a server must be one who may replace it."""

from typing import Any

import pytest

from shared.access.permissions import Permission
from shared.auth.identity import Caller, CallerKind, Grant
from shared.errors import Forbidden
from shared.ids import Key
from shared.model.documents import parse_value
from shared.model.settings_policies import AuthenticationPolicy
from shared.objects.admission import Batch, Proposal
from shared.objects.exposure import Exposure, check_exposure
from shared.store.contract import Operation
from tests.unit.shared.objects.test_pieces import stored

LDAP = {
    "servers": ["ldaps://ldap.example:636"],
    "base": "dc=example",
    "bindDn": "cn=hanse",
    "credential": "directory",
}
DIRECT = {"servers": ["ldaps://ldap.example:636"], "base": "dc=example"}
RADIUS = {"servers": ["192.0.2.1:1812"], "credential": "radius"}


def caller(*permissions: Permission) -> Caller:
    return Caller(
        CallerKind.PERSON, "user:ann", "ann", grants=(Grant("r", frozenset(permissions)),)
    )


AUTHOR = caller(Permission.WRITE_AUTHENTICATION_POLICY)
KEEPER = caller(Permission.WRITE_AUTHENTICATION_POLICY, Permission.WRITE_CREDENTIAL)


def proposal(kind: str, spec: Any, before: Any = None) -> Proposal:
    envelope, faults = parse_value(
        {"apiVersion": "hanse/v1", "kind": kind, "metadata": {"name": "p"}, "spec": spec}
    )
    assert envelope is not None, faults
    key = Key(kind, "common", "site", "p")
    known = None
    if before is not None:
        known = stored(kind, **AuthenticationPolicy.model_validate(before).to_json())
    return Proposal(Operation.PUT, key, envelope, None, known)


async def paths(who: Caller, *proposals: Proposal) -> list[str]:
    review = await Exposure().review(Batch(proposals, who), None)  # type: ignore[arg-type]
    assert {each.error.code for each in review.faults} <= {"forbidden"}
    return [each.error.path for each in review.faults]


@pytest.mark.parametrize(
    ("spec", "before", "refused"),
    [
        ({"ldap": LDAP}, None, ["spec.ldap.credential"]),
        ({"radius": RADIUS}, None, ["spec.radius.credential"]),
        ({"ldap": DIRECT}, None, []),
        ({"providers": ["local"]}, None, []),
        ({"ldap": LDAP, "localUsers": "forbidden"}, {"ldap": LDAP}, []),
        ({"ldap": {**LDAP, "servers": ["ldaps://mine:636"]}}, {"ldap": LDAP}, ["spec.ldap.credential"]),
        ({"ldap": {**LDAP, "credential": "other"}}, {"ldap": LDAP}, ["spec.ldap.credential"]),
    ],
)  # fmt: skip
async def test_a_secret_goes_where_somebody_who_may_write_it_says(
    spec: Any, before: Any, refused: list[str]
) -> None:
    wish = proposal("AuthenticationPolicy", spec, before)
    assert await paths(AUTHOR, wish) == refused
    assert await paths(KEEPER, wish) == []


async def test_an_exception_is_no_way_around() -> None:
    target = {"kind": "AuthenticationPolicy", "name": "p"}
    wish = proposal("Override", {"target": target, "reason": "r", "spec": {"ldap": LDAP}})
    assert await paths(AUTHOR, wish) == ["spec.spec.ldap.credential"]
    assert await paths(KEEPER, wish) == []


def test_trying_a_policy_is_no_way_around() -> None:
    policy = AuthenticationPolicy.model_validate({"ldap": LDAP})
    with pytest.raises(Forbidden):
        check_exposure(AUTHOR, policy, scope="federation")
    check_exposure(KEEPER, policy, scope="federation")
    check_exposure(AUTHOR, AuthenticationPolicy(), scope="federation")
