"""Whoever says who vouches for people must hold what any of them holds."""

from typing import Any

import pytest

from shared.access.book import Account, Book
from shared.access.permissions import ROLES
from shared.auth.identity import Caller, CallerKind, Grant
from shared.ids import Key
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


def caller(role: str) -> Caller:
    grants = (Grant(role, ROLES[role]),)
    return Caller(CallerKind.PERSON, "user:kim", "Kim", grants=grants)


def proposal(kind: str, spec: dict[str, Any]) -> Proposal:
    name = "login"
    document = {"apiVersion": "hanse/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    parsed, faults = parse_value(document)
    assert parsed is not None, faults
    key = Key(kind, "common", "site", name)
    return Proposal(Operation.PUT, key, parsed, None, None)


def codes(role: str, kind: str, spec: dict[str, Any]) -> list[str]:
    batch = Batch((proposal(kind, spec),), caller(role))
    return [fault.error.code for fault in Change(batch, BOOK, BOOK).faults()]


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
