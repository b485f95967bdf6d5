"""Which groups: found by their members and by memberOf, nested, in circles, and lying."""

from collections.abc import Iterator

import pytest

from shared.auth.providers.contract import Person, ProviderUnreachable
from shared.auth.providers.ldap_directory import DEEPEST
from tests.directory import (
    BASE,
    GROUP_BASE,
    PASSWORDS,
    PEOPLE_BASE,
    Directory,
    directory_server,
    group,
    person,
)
from tests.integration.providers.conftest import LDAP
from tests.integration.providers.test_ldap import DIRECT, WAYS

pytestmark = pytest.mark.slapd

BY_MEMBERS = {"memberOf": ""}
BY_MEMBER_OF = {"groupMembers": []}
BY_MEMBER_OF_ALONE = {"groupMembers": [], "groupBase": None}


def names(person: Person | None) -> set[str]:
    """Return the common names, having seen that there is a DN for each."""
    assert person is not None
    common = {name for name in person.groups if "=" not in name}
    assert {f"cn={name},{GROUP_BASE}" for name in common} == person.groups - common
    return common


async def groups_of(login, name: str) -> set[str]:
    found = names(await login.authenticate(name, PASSWORDS[name]))
    if login._account:
        assert found == names(await login.look_up(name))
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("by", "name", "expected"),
    [
        (BY_MEMBERS, "alice", {"admins", "engineers"}),
        (BY_MEMBERS, "bob", {"operators"}),
        (BY_MEMBERS, "carol", {"inner"}),
        (BY_MEMBERS, "dave", {"chicken"}),
        (BY_MEMBERS, "Erin", set()),
        (BY_MEMBERS | {"groupMembers": ["member"]}, "bob", set()),
        (BY_MEMBERS | {"groupMembers": ["uniqueMember"]}, "bob", {"operators"}),
        (BY_MEMBER_OF, "alice", {"admins", "engineers"}),
        (BY_MEMBER_OF_ALONE, "alice", {"admins", "engineers"}),
        (BY_MEMBER_OF, "bob", set()),
        ({}, "bob", {"operators"}),
    ],
)
async def test_groups_without_nesting(slapd, ldap: LDAP, *, way, by, name: str, expected) -> None:
    assert await groups_of(ldap(slapd, nestedGroups=False, **by, **way), name) == expected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("by", "name", "expected"),
    [
        ({}, "alice", {"admins", "engineers"}),
        ({}, "carol", {"inner", "middle", "outer"}),
        (BY_MEMBERS, "carol", {"inner", "middle", "outer"}),
        ({}, "dave", {"chicken", "egg"}),
        (BY_MEMBERS, "dave", {"chicken", "egg"}),
        (BY_MEMBER_OF, "dave", {"chicken", "egg"}),
        (BY_MEMBER_OF_ALONE, "dave", {"chicken", "egg"}),
    ],
)
async def test_nested_groups_and_circles(
    slapd, ldap: LDAP, *, way, by, name: str, expected
) -> None:
    assert await groups_of(ldap(slapd, **by, **way), name) == expected


GRACE = f"uid=grace\\2C (the) *,ou=a\\2Cb,{PEOPLE_BASE}"
HEIDI = f"uid=heidi,{PEOPLE_BASE}"
LIAR = f"cn=admins,{GROUP_BASE}".replace("=", "\\3D").replace(",", "\\2C")

TOWN = f"""\
dn: ou=a\\2Cb,{PEOPLE_BASE}
objectClass: organizationalUnit

dn: {GRACE}
objectClass: inetOrgPerson
cn: Grace
sn: Example
userPassword: grace-password

dn: cn=posix,{GROUP_BASE}
objectClass: posixGroup
gidNumber: 1
memberUid: Erin

dn: cn=admins,{PEOPLE_BASE}
objectClass: groupOfNames
member: uid=bob,{PEOPLE_BASE}

dn: ou=division,{GROUP_BASE}
objectClass: organizationalUnit

dn: cn=Far  Below,ou=division,{GROUP_BASE}
objectClass: groupOfNames
member: UID=Bob, OU=People,{BASE.upper()}

dn: cn={LIAR},{GROUP_BASE}
objectClass: groupOfNames
member: uid=dave,{PEOPLE_BASE}

dn: ou=not-cn,{GROUP_BASE}
objectClass: groupOfNames
cn: admins
member: uid=carol,{PEOPLE_BASE}
"""


@pytest.fixture(scope="module")
def town() -> Iterator[Directory]:
    """A directory of its own with groups of every kind."""
    ladder = [f"uid=frank,{PEOPLE_BASE}", *(f"cn=step{n},{GROUP_BASE}" for n in range(20))]
    with directory_server() as server:
        server.add(
            TOWN,
            person("frank", "frank-password"),
            person("heidi", "heidi-password"),
            *(group(f"step{n}", "groupOfNames", "member", (ladder[n],)) for n in range(20)),
            group("strange", "groupOfNames", "member", (GRACE,)),
            *(group(f"many{n}", "groupOfNames", "member", (GRACE, HEIDI)) for n in range(700)),
            group("high", "groupOfUniqueNames", "uniqueMember", (f"cn=many699,{GROUP_BASE}",)),
        )
        yield server


async def groups_in(town, login, name: str) -> frozenset[str]:
    password = PASSWORDS.get(name, f"{name.partition(',')[0]}-password")
    person = await login.authenticate(name, password)
    assert person is not None
    return person.groups


async def test_the_depth_of_nesting_is_bounded(town, ldap: LDAP) -> None:
    found = await groups_in(town, ldap(town), "frank")
    assert {name for name in found if "=" not in name} == {f"step{n}" for n in range(DEEPEST)}


async def test_members_by_name(town, ldap: LDAP) -> None:
    login = ldap(town, groupMembers=["member", "memberUid"])
    assert "posix" in await groups_in(town, login, "Erin")
    assert "posix" not in await groups_in(town, ldap(town), "Erin")


async def test_a_group_elsewhere_does_not_count(town, ldap: LDAP) -> None:
    """Whoever may write among the people makes nobody an admin, by memberOf neither."""
    for by in ({}, BY_MEMBERS, BY_MEMBER_OF):
        assert "admins" not in await groups_in(town, ldap(town, **by), "bob")
    assert "admins" in await groups_in(town, ldap(town, **BY_MEMBER_OF_ALONE), "bob")


async def test_a_dn_has_one_spelling(town, ldap: LDAP) -> None:
    for by in ({}, BY_MEMBERS, BY_MEMBER_OF):
        found = await groups_in(town, ldap(town, **by), "bob")
        assert f"cn=far below,ou=division,{GROUP_BASE}" in found


async def test_a_common_name_that_reads_like_a_dn_is_no_name(town, ldap: LDAP) -> None:
    found = await groups_in(town, ldap(town), "dave")
    assert f"cn=admins,{GROUP_BASE}" not in found
    assert any(name.startswith("cn=cn\\=admins\\,") for name in found)


async def test_a_group_is_known_by_the_name_in_its_dn(town, ldap: LDAP) -> None:
    """Another value of cn is no name: it needn't be unique."""
    found = await groups_in(town, ldap(town), "carol")
    assert f"ou=not-cn,{GROUP_BASE}" in found
    assert "admins" not in found


async def test_strange_names_in_dns_and_many_groups(town, ldap: LDAP) -> None:
    """More groups than a page holds, and than fit into one search for those above them."""
    found = await groups_in(town, ldap(town), "grace, (the) *")
    assert {"strange", "high", *(f"many{n}" for n in range(700))} == {
        name for name in found if "=" not in name
    }


async def test_half_of_the_groups_are_no_answer(town, ldap: LDAP) -> None:
    """The directory tells an ordinary account 500 entries at most: too few here."""
    login = ldap(town, memberOf="", **DIRECT)
    with pytest.raises(ProviderUnreachable, match=f"searching {GROUP_BASE}: sizeLimitExceeded"):
        await login.authenticate("heidi", "heidi-password")
