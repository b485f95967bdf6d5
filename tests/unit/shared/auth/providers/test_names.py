import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.auth.distinguished import normalised_dn, parse_dn
from shared.auth.providers.ldap_directory import Directory, _Group
from shared.auth.providers.names import common_name, equals, is_beneath, person_dn
from shared.model.settings_policies import LDAPSettings

NORMAL = "cn=admins,ou=groups,dc=example,dc=com"


@pytest.mark.parametrize(
    "spelled",
    [
        NORMAL,
        "CN=Admins,OU=Groups,DC=Example,DC=Com",
        "cn = admins , ou = groups , dc=example , dc=com",
        "cn=\\61dmins,ou=groups,dc=example,dc=com",
        "cn=ａｄｍｉｎｓ,ou=groups,dc=example,dc=com",  # noqa: RUF001 - full width
    ],
)
def test_spellings_of_one_dn_are_equal(spelled: str) -> None:
    assert normalised_dn(spelled) == NORMAL


@pytest.mark.parametrize(
    ("spelled", "normal"),
    [
        ("cn=a\\,b,dc=x", "cn=a\\,b,dc=x"),
        ("cn=a\\2cb,dc=x", "cn=a\\,b,dc=x"),
        ("cn=a\\2Bb+ou=c,dc=x", "cn=a\\+b+ou=c,dc=x"),
        ("ou=c+cn=a\\+b,dc=x", "cn=a\\+b+ou=c,dc=x"),
        ("cn=a\\\\,dc=x", "cn=a\\\\,dc=x"),
        ("cn=two  words,dc=x", "cn=two words,dc=x"),
        ("cn=end\\ ,dc=x", "cn=end,dc=x"),
        ("cn=M\\C3\\BCller,dc=x", "cn=müller,dc=x"),
        ("cn=Stra\u00dfe,dc=x", "cn=strasse,dc=x"),
        ("cn=a=b,dc=x", "cn=a\\=b,dc=x"),
    ],
)
def test_escapes_have_one_form(spelled: str, normal: str) -> None:
    assert normalised_dn(spelled) == normal
    assert normalised_dn(normal) == normal


@pytest.mark.parametrize("text", ["", "admins", "cn=a,,dc=x", "=a", "cn=a\\", "cn=\\ff", ",", "\\"])
def test_what_is_no_dn_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no part of a DN|escape|utf-8"):
        normalised_dn(text)


@given(st.text(min_size=1))
def test_a_name_of_any_text_stays_one_part_of_a_dn(name: str) -> None:
    dn = person_dn("uid", name, "ou=people,dc=x")
    assert parse_dn(dn)[0] == [("uid", name)]
    assert len(parse_dn(dn)) == 3
    assert dn.isascii()


@given(st.text())
def test_a_value_of_any_text_stays_one_term_of_a_filter(value: str) -> None:
    term = equals("uid", value)
    assert (term[:5], term[-1]) == ("(uid=", ")")
    assert not set("()*\0") & set(term[5:-1])


@pytest.mark.parametrize(
    ("dn", "name"),
    [
        (NORMAL, "admins"),
        ("CN=Domain Admins,DC=x", "Domain Admins"),
        ("cn=a\\,b,dc=x", "a,b"),
        ("ou=admins,dc=x", None),
        ("cn=a+ou=b,dc=x", None),
        ("cn=cn\\=admins\\,dc\\=x,dc=x", None),
    ],
)
def test_a_groups_name_is_the_cn_in_its_dn(dn: str, name: str | None) -> None:
    assert common_name(dn) == name


@pytest.mark.parametrize(
    ("dn", "is_within"),
    [
        ("ou=groups,dc=x", True),
        ("cn=a,ou=groups,dc=x", True),
        ("cn=a,xou=groups,dc=x", False),
        ("ou=groups,dc=x,dc=y", False),
        ("dc=x", False),
        ("cn=a\\,ou=groups,dc=x", False),
    ],
)
def test_what_lies_beneath_a_base(dn: str, is_within: bool) -> None:
    assert is_beneath(normalised_dn(dn), "ou=groups,dc=x") == is_within


def test_a_group_whose_dn_cannot_be_read_does_not_count() -> None:
    """And keeps nobody out who is in it."""
    settings = LDAPSettings.model_validate({"servers": ["ldaps://a"], "base": "dc=x"})
    groups = [_Group("nonsense"), _Group("cn=\\ff,dc=x"), _Group(NORMAL)]
    assert set(Directory(settings)._within(groups)) == {NORMAL}
