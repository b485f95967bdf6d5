"""Whoever says who vouches for people must hold what any of them holds."""

from typing import Any

import pytest

from shared.access.book import Account, Book
from shared.access.permissions import ROLES
from shared.auth.identity import Caller, CallerKind, Grant
from shared.ids import Key
from shared.model.access import RoleBinding
from shared.model.documents import parse_value
from shared.objects.admission import Batch, Proposal
from shared.objects.granting import EXCEEDS, Change
from shared.store.contract import Operation

BOOK = Book({}, {"root": Account(("global-admin",))}, is_site=True)
POLICY = {"providers": ["local"]}
EXCEPTION = {
    "target": {"kind": "AuthenticationPolicy", "name": "login"},
    "reason": "the directory moves",
    "spec": POLICY,
}


def caller(role: str, tenants: frozenset[str] | None = None) -> Caller:
    grants = (Grant(role, ROLES[role], tenants),)
    return Caller(CallerKind.PERSON, "user:kim", "Kim", grants=grants)


def proposal(kind: str, spec: dict[str, Any], tenant: str = "common") -> Proposal:
    name = "login"
    metadata = {"name": name, "tenant": tenant}
    document = {"apiVersion": "hanse/v1", "kind": kind, "metadata": metadata, "spec": spec}
    parsed, faults = parse_value(document)
    assert parsed is not None, faults
    key = Key(kind, tenant, "site", name)
    return Proposal(Operation.PUT, key, parsed, None, None)


def codes(role: str, kind: str, spec: dict[str, Any]) -> list[str]:
    return codes_of(caller(role), proposal(kind, spec))


def codes_of(who: Caller, what: Proposal, book: Book = BOOK) -> list[str]:
    batch = Batch((what,), who)
    return [fault.error.code for fault in Change(batch, book, book).faults()]


@pytest.mark.parametrize(
    ("kind", "spec"), [("AuthenticationPolicy", POLICY), ("Override", EXCEPTION)]
)
def test_regression_an_operator_became_the_administrator_by_a_directory_of_his_own(
    kind: str, spec: dict[str, Any]
) -> None:
    assert codes("site-operator", kind, spec) == [EXCEEDS]
    assert codes("global-admin", kind, spec) == []


def test_an_exception_to_other_policy_is_no_matter_of_accounts() -> None:
    spec = {**EXCEPTION, "target": {"kind": "SecurityPolicy", "name": "web"}, "spec": {"rules": []}}
    assert codes("site-operator", "Override", spec) == []


def test_who_holds_everything_in_one_tenant_alone_writes_no_login_policy_of_that_tenant() -> None:
    """People are the server's and no tenant's, so that root could be vouched for there, too."""
    policy = proposal("AuthenticationPolicy", POLICY, "acme")
    acme = caller("global-admin", frozenset({"acme"}))
    assert codes_of(acme, policy) == [EXCEEDS]
    assert codes_of(caller("global-admin"), policy) == []
    # It is for what others hold beyond the tenant, and for nothing else.
    assert codes_of(acme, policy, Book({}, is_site=True)) == []
    subjects = [{"kind": "User", "name": "lee"}]
    spec = {"role": "global-admin", "subjects": subjects, "tenants": ["acme"]}
    key = Key("RoleBinding", "common", "site", "lees")
    lees = Book({key: RoleBinding.model_validate(spec)}, is_site=True)
    assert codes_of(acme, policy, lees) == []
