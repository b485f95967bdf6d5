"""Who is it: a real slapd's answers, and what they must never be taken for."""

import subprocess

import pytest

from shared.auth.providers.contract import ProviderUnreachable
from tests.directory import (
    BASE,
    PASSWORDS,
    PEOPLE_BASE,
    SERVICE_DN,
    Directory,
    directory_server,
    person,
)
from tests.integration.providers.conftest import LDAP
from tests.integration.providers.scripted import BIND, SEARCH, scripted
from tests.servers import free_port, require

pytestmark = pytest.mark.slapd

DIRECT = {"bindDn": None, "credential": None}
WAYS = [pytest.param({}, id="service account"), pytest.param(DIRECT, id="direct bind")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "password"), PASSWORDS.items())
async def test_a_person_logs_in(slapd, ldap: LDAP, way, name: str, password: str) -> None:
    person = await ldap(slapd, **way).authenticate(name, password)
    assert person is not None
    assert (person.username, person.provider) == (name, "ldap")
    assert person.display_name == f"{name.title()} of Example"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("typed", ["erin", "ERIN", " Erin ", "Erin"])
async def test_a_name_is_spelled_as_the_directory_has_it(
    slapd, ldap: LDAP, way, typed: str
) -> None:
    person = await ldap(slapd, **way).authenticate(typed, PASSWORDS["Erin"])
    assert person is not None
    assert person.username == "Erin"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "password"),
    [
        pytest.param("alice", "wrong", id="wrong password"),
        pytest.param("alice", PASSWORDS["bob"], id="another's password"),
        pytest.param("alice", PASSWORDS["alice"].upper(), id="wrong case"),
        pytest.param("alice", f"{PASSWORDS['alice']} ", id="a space more"),
        pytest.param("nobody", "wrong", id="unknown"),
        pytest.param("hanse", "service-account-password", id="the service account"),
    ],
)
async def test_what_does_not_fit_is_refused(
    slapd, ldap: LDAP, way, name: str, password: str
) -> None:
    assert await ldap(slapd, **way).authenticate(name, password) is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", ""),
        ("alice", "\0"),
        ("alice", "   "),
        ("alice", "\ud800"),
        ("alice", "x" * 1025),
        ("", "secret"),
        (" ", "secret"),
        ("\0", "secret"),
        ("alice\0", PASSWORDS["alice"]),
        ("\udcff", "secret"),
        ("x" * 254, "secret"),
    ],
)
async def test_an_empty_or_unsendable_name_or_password_is_refused_before_anything_is_sent(
    slapd: Directory, ldap: LDAP, way, name: str, password: str
) -> None:
    nowhere = f"ldaps://127.0.0.1:{free_port()}"
    assert await ldap(slapd, servers=[nowhere], **way).authenticate(name, password) is None
    assert await ldap(slapd, **way).authenticate(name, password) is None


def test_the_directory_would_let_anybody_in_without_a_password(slapd: Directory) -> None:
    """What the tests above guard against is there."""
    program = require("ldapwhoami")["ldapwhoami"]
    command = [program, "-x", "-H", slapd.url, "-D", f"uid=alice,{PEOPLE_BASE}", "-w", ""]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "anonymous")


async def test_regression_a_password_is_sent_as_it_was_typed(slapd, ldap: LDAP) -> None:
    """ldap3 maps a soft hyphen to nothing and "²" to "2" (SASLprep): another password would fit."""
    login = ldap(slapd)
    assert await login.authenticate("alice", f"\xad{PASSWORDS['alice']}") is None
    assert await login.authenticate("alice", "\xad") is None
    assert await login.authenticate("bob", PASSWORDS["bob"].replace("1", "¹")) is None


INJECTIONS = [
    "*",
    "al*",
    "a*e",
    "alice)(uid=*",
    "*)(uid=*",
    "*)(uid=*))(|(uid=*",
    "alice)(|(objectClass=*)",
    "alice))(&(uid=alice",
    ")",
    "(",
    "\\",
    "\\2a",
    "\\61lice",
    "alice\\",
    "alice,ou=people",
    f"alice,{PEOPLE_BASE}",
    "alice+cn=x",
    "alice;x",
    '"alice"',
    "#616c696365",
    "=",
    "<SID=1>",
    "alice\n",
    "alíce",
    "a\u200blice",
    "\u202ealice",
    "\u0661",
    "😀",
    "cn=alice",
    "uid=alice",
    "../alice",
    "alice@example.com",
    "EXAMPLE\\alice",
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", INJECTIONS, ids=map(ascii, INJECTIONS))
async def test_ldap_injection(slapd, ldap: LDAP, way, name: str) -> None:
    """Escaped, so that it is nobody's name, or the one that the directory takes it for."""
    person = await ldap(slapd, **way).authenticate(name, PASSWORDS["alice"])
    # White space around a name and characters that show nothing don't count in a directory.
    is_alice = name in ("alice\n", "a\u200blice")
    assert (person.username if person else None) in ({"alice", None} if is_alice else {None})


@pytest.fixture(scope="module")
def crowd() -> Directory:
    """A directory of its own, with people whom there should not be."""
    with directory_server() as server:
        server.add(
            f"dn: ou=more,{PEOPLE_BASE}\nobjectClass: organizationalUnit\nou: more\n",
            person("alice", "another-alice", base=f"ou=more,{PEOPLE_BASE}"),
            person("several", "several-names", extra="uid: zed\nuid: bob\n"),
            person("twin", "twins-password", base=f"ou=more,{PEOPLE_BASE}", extra="uid: other\n"),
            person("twin", "another-twin"),
            person("pair", "another-pair", base=f"ou=more,{PEOPLE_BASE}"),
            person("pair", "pairs-password", extra="uid: second\n"),
            person("alias", "alias-password", extra="uid: aka\n"),
            f"dn: cn=Nameless,{PEOPLE_BASE}\nobjectClass: inetOrgPerson\ncn: Nameless\nsn: N\n"
            "uid: first\nuid: second\nuserPassword: nameless-password\n",
            person("no-password", None),
            person("locked", "locked-password"),
            person("reset", "reset-password"),
            person("paused", "paused-password"),
            person(
                "expired",
                "expired-password",
                extra="objectClass: shadowAccount\nshadowExpire: 20000\n",
            ),
            person(
                "later", "later-password", extra="objectClass: shadowAccount\nshadowExpire: 20500\n"
            ),
            f"dn: uid=device,{PEOPLE_BASE}\nobjectClass: account\nobjectClass: "
            "simpleSecurityObject\nuid: device\nuserPassword: device-password\n",
            f"dn: ou=elsewhere,{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\n"
            "ou: elsewhere\nref: ldap://ldap.example.net/ou=people,dc=example,dc=net\n",
            f"dn: ou=partner,{PEOPLE_BASE}\nobjectClass: referral\nobjectClass: extensibleObject\n"
            "ou: partner\nref: ldap://ldap.example.net/ou=people,dc=example,dc=net\n",
        )
        for name, since in (("locked", "000001010000Z"), ("paused", "20260101000000Z")):
            server.change(
                f"dn: uid={name},{PEOPLE_BASE}\nchangetype: modify\n"
                f"add: pwdAccountLockedTime\npwdAccountLockedTime: {since}\n"
            )
        server.change(
            f"dn: uid=reset,{PEOPLE_BASE}\nchangetype: modify\nadd: pwdReset\npwdReset: TRUE\n"
        )
        yield server


@pytest.mark.parametrize("password", [PASSWORDS["alice"], "another-alice"])
async def test_a_name_that_two_entries_have_is_nobodys(crowd, ldap: LDAP, password: str) -> None:
    login = ldap(crowd)
    assert await login.authenticate("alice", password) is None
    assert await login.look_up("alice") is None


async def test_a_person_of_several_names_is_known_by_the_one_in_his_dn(crowd, ldap: LDAP) -> None:
    for typed in ("alias", "AKA"):
        person = await ldap(crowd).authenticate(typed, "alias-password")
        assert person is not None
        assert person.username == "alias"


async def test_who_has_somebodys_name_besides_his_own_is_not_taken_for_him(
    crowd, ldap: LDAP
) -> None:
    login = ldap(crowd)
    assert await login.authenticate("bob", "several-names") is None
    assert await login.authenticate("bob", PASSWORDS["bob"]) is None  # two entries
    person = await login.authenticate("zed", "several-names")
    assert person is not None
    assert person.username == "several"


async def test_who_is_known_by_a_name_that_another_has_as_well_is_nobody(crowd, ldap: LDAP) -> None:
    """Whichever of the two the directory tells first."""
    assert await ldap(crowd).authenticate("other", "twins-password") is None
    assert await ldap(crowd).authenticate("second", "pairs-password") is None


async def test_timing_a_name_that_nobody_has_costs_as_many_questions(slapd, ldap: LDAP) -> None:
    """And a directory that takes any password makes nobody somebody."""
    async with scripted({BIND: (0, ""), SEARCH: (0, "")}) as server:
        assert await ldap(slapd, servers=[server.url]).authenticate("nobody", "wrong") is None
        assert server.requests == [BIND, SEARCH, BIND]


async def test_an_entry_whose_one_name_nobody_can_tell_logs_nobody_in(crowd, ldap: LDAP) -> None:
    assert await ldap(crowd).authenticate("first", "nameless-password") is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["no-password", "locked", "reset", "expired", "device"])
async def test_an_account_out_of_use_is_refused(crowd, ldap: LDAP, way, name: str) -> None:
    assert await ldap(crowd, **way).authenticate(name, f"{name}-password") is None


async def test_who_may_not_read_his_own_entry_is_refused(slapd, ldap: LDAP) -> None:
    """So OpenLDAP treats somebody who must change his password first."""
    restricted = (50, "Operations are restricted to bind/unbind/abandon/StartTLS/modify password")
    async with scripted({BIND: (0, ""), SEARCH: restricted}) as server:
        login = ldap(slapd, servers=[server.url], **DIRECT)
        assert await login.authenticate("alice", PASSWORDS["alice"]) is None


async def test_an_account_that_expires_later_is_in_use(crowd, ldap: LDAP, clock) -> None:
    """In shadowExpire stand days: 20,500 is 16 February 2026."""
    login = ldap(crowd)
    assert await login.authenticate("later", "later-password") is not None
    clock.jump(60 * 86_400)
    assert await login.authenticate("later", "later-password") is None
    assert await login.look_up("later") is None


@pytest.mark.parametrize("name", ["locked", "reset", "expired", "device", "nobody"])
async def test_who_is_out_of_use_is_not_looked_up(crowd, ldap: LDAP, name: str) -> None:
    assert await ldap(crowd).look_up(name) is None


async def test_whoever_guesses_passwords_ends_nobodys_session(crowd, ldap: LDAP) -> None:
    """An account that is locked for a while is still looked up."""
    assert await ldap(crowd).look_up("paused") is not None


@pytest.mark.parametrize(
    ("control", "expires", "is_in_use"),
    [
        (512, 0, True),
        (514, 0, False),
        (66050, 0, False),
        (512, 0x7FFFFFFFFFFFFFFF, True),
        (512, 133_000_000_000_000_000, False),
        (512, 140_000_000_000_000_000, True),
    ],
)
async def test_active_directorys_word_on_an_account_counts(
    crowd, ldap: LDAP, control: int, expires: int, is_in_use: bool
) -> None:
    name = f"ad-{control}-{expires}"
    crowd.add(
        person(
            name,
            f"{name}-password",
            extra="objectClass: extensibleObject\n"
            f"userAccountControl: {control}\naccountExpires: {expires}\n",
        )
    )
    login = ldap(crowd)
    assert (await login.authenticate(name, f"{name}-password") is not None) == is_in_use
    assert (await login.look_up(name) is not None) == is_in_use


async def test_a_referral_among_the_people_is_not_followed(crowd, ldap: LDAP) -> None:
    person = await ldap(crowd).authenticate("carol", PASSWORDS["carol"])
    assert person is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"base": f"ou=elsewhere,{BASE}"}, "is on another server", id="referral"),
        pytest.param({"base": f"ou=nowhere,{BASE}"}, "isn't there", id="no such base"),
        pytest.param({"base": "no dn"}, "invalidDNSyntax", id="no DN"),
        pytest.param({"groupBase": f"ou=nowhere,{BASE}"}, "isn't there", id="no such group base"),
        pytest.param({"groupBase": "no dn"}, "groupBase is no DN", id="group base is no DN"),
        pytest.param({"userFilter": "(a=b(c=d))"}, "userFilter", id="filter"),
        pytest.param({"secret": "wrong"}, f"refuses the service account {SERVICE_DN}", id="secret"),
        pytest.param({"secret": ""}, "Credential is missing", id="no secret"),
        pytest.param({"secret": None}, "Credential is missing", id="no credential"),
        pytest.param({"bindDn": f"cn=nobody,{BASE}"}, "refuses the service account", id="account"),
    ],
)
async def test_what_the_policy_has_wrong_is_told_and_no_refusal(
    crowd, ldap: LDAP, changes, reason: str
) -> None:
    with pytest.raises(ProviderUnreachable) as caught:
        await ldap(crowd, **changes).authenticate("carol", PASSWORDS["carol"])
    assert reason in caught.value.message
    assert crowd.tls_url in caught.value.message
    assert caught.value.code == "provider_unreachable"


async def test_a_wrong_base_of_a_direct_bind_lets_nobody_in(crowd, ldap: LDAP) -> None:
    login = ldap(crowd, base=f"ou=nowhere,{BASE}", **DIRECT)
    assert await login.authenticate("carol", PASSWORDS["carol"]) is None


async def test_a_person_is_looked_up_as_he_is_now(slapd, ldap: LDAP) -> None:
    person = await ldap(slapd).look_up("CAROL")
    assert person is not None
    assert person.username == "carol"
    assert "outer" in person.groups
    assert await ldap(slapd).look_up("") is None
    assert await ldap(slapd).look_up("*") is None


async def test_by_direct_bind_nobody_is_looked_up(slapd, ldap: LDAP) -> None:
    with pytest.raises(NotImplementedError):
        await ldap(slapd, **DIRECT).look_up("carol")
