"""What somebody holds at a site by the federation's roles alone."""

from typing import Any

from shared.access.book import Book
from shared.access.flowed import flowed_grants, groups_that_flow
from shared.auth.delegation import Asker
from shared.auth.identity import CallerKind
from shared.ids import FEDERATION, SITE, Key
from shared.model.access import Role, RoleBinding, User

KIM = Asker(CallerKind.PERSON, "user:kim", "kim", frozenset({"CN=Ops,DC=x"}))


def binding(name: str, role: str, scope: str, *subjects: tuple[str, str], **more: Any) -> Any:
    named = [{"kind": kind, "name": each} for kind, each in subjects]
    spec = RoleBinding.model_validate({"role": role, "subjects": named, **more})
    return Key("RoleBinding", "common", scope, name), spec


def roles_of(book: Book, asker: Asker = KIM) -> list[str]:
    return [each.role for each in flowed_grants(book, asker)]


def test_only_what_flowed_down_counts() -> None:
    book = Book(
        dict(
            [
                binding("a", "viewer", FEDERATION, ("User", "kim")),
                binding("b", "global-admin", SITE, ("User", "kim")),
                binding("c", "auditor", FEDERATION, ("Group", "cn=ops, dc=x")),
                binding("d", "site-operator", FEDERATION, ("User", "somebody")),
            ]
        ),
        is_site=True,
    )
    assert roles_of(book) == ["viewer", "auditor"]


def test_an_inherited_binding_means_the_inherited_role() -> None:
    grant = {"verbs": ["trace"], "kinds": ["*"], "tenants": ["acme"]}
    wide = {"verbs": ["*"], "kinds": ["*"]}
    book = Book(
        {
            Key("Role", "common", FEDERATION, "asker"): Role.model_validate({"grants": [grant]}),
            Key("Role", "common", SITE, "asker"): Role.model_validate({"grants": [wide]}),
            **dict([binding("a", "asker", FEDERATION, ("User", "kim"))]),
        },
        is_site=True,
    )
    (found,) = flowed_grants(book, KIM)
    assert found.tenants == frozenset({"acme"})
    assert found.permissions == frozenset({"trace"})


def test_a_site_may_take_away() -> None:
    objects = dict([binding("a", "viewer", FEDERATION, ("User", "kim"))])
    disabled = User.model_validate({"disabled": True})
    book = Book({**objects, Key("User", "common", SITE, "kim"): disabled}, is_site=True)
    assert roles_of(book) == []


def test_a_tenants_program_stays_within_its_tenant() -> None:
    subjects = (("ServiceAccount", "acme/ci"), ("ServiceAccount", "ci"))
    book = Book(dict([binding("a", "viewer", FEDERATION, *subjects)]), is_site=True)
    for name, tenants in (("acme/ci", frozenset({"acme"})), ("common/ci", None)):
        asker = Asker(CallerKind.SERVICE_ACCOUNT, f"serviceaccount:{name}", name)
        (found,) = flowed_grants(book, asker)
        assert found.tenants == tenants


def test_only_groups_that_mean_something_at_sites_go_along() -> None:
    book = Book(
        dict(
            [
                binding("a", "viewer", FEDERATION, ("Group", "cn=ops,dc=x"), flowsDown=True),
                binding("b", "viewer", FEDERATION, ("Group", "secret")),
            ]
        )
    )
    assert groups_that_flow(book, ["CN=Ops,DC=x", "secret", "other"]) == {"CN=Ops,DC=x"}
