import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.model.login_servers import (
    DirectoryFilter,
    DirectoryURL,
    RADIUSServer,
    is_loopback,
    parse_directory_url,
    parse_radius_server,
)
from shared.model.settings_policies import LDAPSettings, RADIUSSettings

LDAP = {"servers": ["ldaps://ldap.example.com"], "base": "dc=example,dc=com"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ldaps://ldap.example.com", ("ldaps", "ldap.example.com", 636)),
        ("ldap://ldap.example.com/", ("ldap", "ldap.example.com", 389)),
        ("ldaps://10.0.0.1:1636", ("ldaps", "10.0.0.1", 1636)),
        ("ldaps://[2001:DB8::1]", ("ldaps", "2001:db8::1", 636)),
        ("ldap://[::1]:3389", ("ldap", "::1", 3389)),
    ],
)
def test_a_directorys_url(text: str, expected: tuple[str, str, int]) -> None:
    assert parse_directory_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ldap.example.com",
        "https://ldap.example.com",
        "ldaps://",
        "ldaps://a:0",
        "ldaps://a:65536",
        "ldaps://a:",
        "ldaps://user@a",
        "ldaps://a/dc=example?uid",
        "ldaps://a b",
        "ldaps://a\n",
        "ldaps://[::g]",
        "ldaps://::1",
        "ldaps://[fe80::1%eth0]",
        "ldaps://a:٣",
        "ldapi:///var/run/ldapi",
        "LDAPS://a",
    ],
)
def test_what_is_no_directorys_url_is_told(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(DirectoryURL).validate_python(text)
    assert caught.value.errors()[0]["type"] == "invalid_login_server"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("radius.example.com", ("radius.example.com", 1812)),
        ("10.0.0.1:11812", ("10.0.0.1", 11812)),
        ("[::1]:1645", ("::1", 1645)),
        ("[::1]", ("::1", 1812)),
    ],
)
def test_a_radius_server(text: str, expected: tuple[str, int]) -> None:
    assert parse_radius_server(text) == expected


@given(st.text())
def test_any_text_is_a_server_or_a_fault(text: str) -> None:
    for kind, parse in ((DirectoryURL, parse_directory_url), (RADIUSServer, parse_radius_server)):
        try:
            TypeAdapter(kind).validate_python(text)
        except ValidationError:
            continue
        assert 0 < parse(text)[-1] < 65536


@pytest.mark.parametrize(
    ("host", "stays"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_what_stays_on_this_machine(host: str, stays: bool) -> None:
    assert is_loopback(host) == stays


@pytest.mark.parametrize(
    "text", ["(a=b)", "(&(a=b)(c=d))", "(!(a=b))", "(cn=a\\28b\\29)", "(memberOf=cn=x,dc=y)"]
)
def test_a_filter(text: str) -> None:
    assert TypeAdapter(DirectoryFilter).validate_python(text) == text


@pytest.mark.parametrize(
    "text", ["", "a=b", "(a=b)(c=d)", "(a=b))(c=d", ")(", "((a=b)", "(a=b) ", "x(a=b)", "(a=\0)"]
)
def test_what_is_not_one_filter_is_told(text: str) -> None:
    with pytest.raises(ValidationError, match="one LDAP filter in parentheses"):
        TypeAdapter(DirectoryFilter).validate_python(text)


@pytest.mark.parametrize("half", [{"bindDn": "cn=hanse"}, {"credential": "directory"}])
def test_a_service_account_has_a_dn_and_a_credential(half: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="bindDn and credential go together"):
        LDAPSettings.model_validate(LDAP | half)


@pytest.mark.parametrize(
    "name", ["", "uid)(a", "uid=", "1uid", "user name", "uid;lang-de", "uid\n"]
)
def test_an_attributes_name_is_a_name(name: str) -> None:
    for field in ("userAttribute", "displayNameAttribute"):
        with pytest.raises(ValidationError):
            LDAPSettings.model_validate(LDAP | {field: name})
    with pytest.raises(ValidationError):
        LDAPSettings.model_validate(LDAP | {"groupMembers": [name]})
    if name:
        with pytest.raises(ValidationError):
            LDAPSettings.model_validate(LDAP | {"memberOf": name})


def test_the_defaults_are_safe() -> None:
    ldap = LDAPSettings.model_validate(LDAP)
    assert (ldap.user_filter, ldap.nested_groups) == ("(objectClass=person)", False)
    radius = RADIUSSettings.model_validate({"servers": ["a"], "credential": "radius"})
    assert (radius.case_sensitive, radius.group_attribute) == (False, "Class")
