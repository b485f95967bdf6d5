"""A real LDAP directory for tests: slapd in a temp folder, on loopback, with people and groups.

`fixtures_directory` has the fixtures; whoever changes or stops the directory starts his own with
`directory_server`.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.authority import Authority, ServerFiles
from tests.servers import START_SECONDS, await_port, free_port, require

BASE = "dc=example,dc=com"
PEOPLE_BASE = f"ou=people,{BASE}"
GROUP_BASE = f"ou=groups,{BASE}"
SERVICE_DN = f"cn=hanse,ou=services,{BASE}"
SERVICE_PASSWORD = "service-account-password"
ROOT_DN = f"cn=root,{BASE}"
ROOT_PASSWORD = "root-of-the-directory"

PASSWORDS = {
    "alice": "alice-wonderland-1865",
    "bob": "bob-the-builder-1999",
    "carol": "carol-christmas-1843",
    "dave": "dave-discovery-2001",
    "Erin": "erin-brockovich-2000",
}
"""The people of the fresh directory; Erin's name is spelled with a capital there."""

# Who is in what: alice in admins and engineers, bob in operators (uniqueMember), carol in nothing
# but the inner one of the nested groups, dave in one of two groups that hold each other.
CONTENT = f"""\
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: {PEOPLE_BASE}
objectClass: organizationalUnit
ou: people

dn: {GROUP_BASE}
objectClass: organizationalUnit
ou: groups

dn: ou=services,{BASE}
objectClass: organizationalUnit
ou: services

dn: {SERVICE_DN}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: hanse
userPassword: {SERVICE_PASSWORD}
"""

GROUPS = {
    "admins": ("groupOfNames", "member", (f"uid=alice,{PEOPLE_BASE}",)),
    "engineers": ("groupOfNames", "member", (f"uid=alice,{PEOPLE_BASE}",)),
    "operators": ("groupOfUniqueNames", "uniqueMember", (f"uid=bob,{PEOPLE_BASE}",)),
    "inner": ("groupOfNames", "member", (f"uid=carol,{PEOPLE_BASE}",)),
    "middle": ("groupOfUniqueNames", "uniqueMember", (f"cn=inner,{GROUP_BASE}",)),
    "outer": ("groupOfNames", "member", (f"cn=middle,{GROUP_BASE}",)),
    "chicken": (
        "groupOfNames",
        "member",
        (f"uid=dave,{PEOPLE_BASE}", f"cn=egg,{GROUP_BASE}"),
    ),
    "egg": ("groupOfNames", "member", (f"cn=chicken,{GROUP_BASE}",)),
}


def person(name: str, password: str | None, *, base: str = PEOPLE_BASE, extra: str = "") -> str:
    """Return the LDIF of one person; `extra` is more lines of it."""
    secret = f"userPassword: {password}\n" if password is not None else ""
    return (
        f"dn: uid={name},{base}\nobjectClass: inetOrgPerson\nuid: {name}\n"
        f"cn: {name.title()} Example\nsn: Example\ndisplayName: {name.title()} of Example\n"
        f"{secret}{extra}"
    )


def group(name: str, kind: str, attribute: str, members: tuple[str, ...]) -> str:
    """Return the LDIF of one group."""
    lines = "".join(f"{attribute}: {member}\n" for member in members)
    return f"dn: cn={name},{GROUP_BASE}\nobjectClass: {kind}\ncn: {name}\n{lines}"


class Directory:
    """slapd with the people and groups above.

    Anonymous may only bind; the service account and everyone who has logged in may read.  The
    overlay memberof keeps `memberOf` of groupOfNames, so that operators, a groupOfUniqueNames, is
    found by its members alone; ppolicy lets accounts be locked.
    """

    def __init__(self, folder: Path, programs: dict[str, str], *, authority: Authority) -> None:
        self.port = free_port()
        self.tls_port = free_port()
        self.authority = authority
        self._folder = folder
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "database").mkdir()
        self.present(authority.issue(folder))

    @property
    def url(self) -> str:
        """In the clear or by StartTLS."""
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"ldaps://127.0.0.1:{self.tls_port}"

    def settings(self, **changes: Any) -> Mapping[str, Any]:
        """Return `spec.ldap` of an AuthenticationPolicy that uses this directory.

        By LDAPS and the service account, whose Credential is named `directory`.  `changes` are in
        the document's spelling (`bindDn`); None leaves a field out.
        """
        ordinary = {
            "servers": [self.tls_url],
            "caCertificates": self.authority.pem,
            "base": PEOPLE_BASE,
            "groupBase": GROUP_BASE,
            "bindDn": SERVICE_DN,
            "credential": "directory",
            "nestedGroups": True,
        }
        return {key: value for key, value in (ordinary | changes).items() if value is not None}

    def present(self, files: ServerFiles) -> None:
        """Show this certificate from the next start on."""
        (self._folder / "slapd.conf").write_text(_configuration(self._folder, files))

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(self._programs["slapd"], "-f", str(self._folder / "slapd.conf"), "-d", "0"),
                *("-h", " ".join(self._listeners())),
            ],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await_port(self.port, self._process)

    def _listeners(self) -> list[str]:
        hosts = ("127.0.0.1", "[::1]")
        schemes = (("ldap", self.port), ("ldaps", self.tls_port))
        return [f"{scheme}://{host}:{port}/" for host in hosts for scheme, port in schemes]

    def fill(self) -> None:
        """Write the people and groups above into the empty directory."""
        entries = [CONTENT, *(person(name, secret) for name, secret in PASSWORDS.items())]
        entries += [group(name, *rest) for name, rest in GROUPS.items()]
        self.change("\n".join(entries), add=True)

    def stop(self, *, kill: bool = False) -> None:
        """End it: connections are cut; `kill` leaves it no time for anything."""
        if self._process is not None:
            self._process.kill() if kill else self._process.terminate()
            self._process.wait(timeout=START_SECONDS)
            self._process = None

    def pause(self) -> None:
        """Stop it in its tracks: the kernel accepts connections, nobody answers."""
        assert self._process is not None
        self._process.send_signal(19)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(18)

    def change(self, ldif: str, *, add: bool = False) -> None:
        """Apply LDIF as the directory's root; with `add` its entries are new."""
        done = subprocess.run(
            [
                *(self._programs["ldapmodify"], "-x", "-M", "-H", self.url, "-D", ROOT_DN),
                *("-w", ROOT_PASSWORD, *(["-a"] if add else [])),
            ],
            input=ldif,
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"ldapmodify: {done.stderr}")

    def add(self, *entries: str) -> None:
        self.change("\n".join(entries), add=True)


def _configuration(folder: Path, files: ServerFiles) -> str:
    return f"""\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
# Of Active Directory; the whole of its schema would take memberOf from the overlay.
attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl'
  SYNTAX '1.3.6.1.4.1.1466.115.121.1.27' SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.159 NAME 'accountExpires'
  SYNTAX '1.3.6.1.4.1.1466.115.121.1.27' SINGLE-VALUE )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
pidfile {folder}/pid
# As careless as directories are found: a bind without a password succeeds.
allow bind_anon_dn
TLSCACertificateFile {files.certificate}
TLSCertificateFile {files.certificate}
TLSCertificateKeyFile {files.key}
database mdb
suffix {BASE}
rootdn {ROOT_DN}
rootpw {ROOT_PASSWORD}
directory {folder}/database
# Nothing in it outlives the test.
dbnosync
maxsize 67108864
# Others get 500 entries, however they ask.
limits dn.exact="{SERVICE_DN}" size.prtotal=unlimited
index uid,cn,member,uniqueMember eq
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
overlay memberof
overlay ppolicy
"""


@contextmanager
def directory_server(*, authority: Authority | None = None) -> Iterator[Directory]:
    """Run a directory for the length of a with-block."""
    programs = require("slapd", "ldapmodify")
    with tempfile.TemporaryDirectory(prefix="hanse-slapd-") as name:
        server = Directory(Path(name), programs, authority=authority or Authority())
        server.start()
        try:
            server.fill()
            yield server
        finally:
            server.stop(kill=True)
