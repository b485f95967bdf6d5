"""Timing of secrets: hashes are compared in constant time, and who isn't there costs as much.

Nothing is measured: how often a password is hashed is counted, and how secrets are compared is read
from the code.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.auth.passwords import Passwords
from shared.auth.providers.local import LocalProvider, LocalUser

ROOT = Path(__file__).parents[3]
SECRET_BEARERS = ("shared/auth", "shared/login", "shared/enrolment", "shared/pki", "fsm/sites")
SECRETIVE = re.compile(r"secret|password|digest|hashed|hmac|signature", re.IGNORECASE)
PASSWORD = "correct horse battery"
HARMLESS = {
    # Whether the account still has the very hash that fitted a moment ago: both are our own.
    "login/breakglass.py: account['passwordHash'] != hashed",
    # Which of two tokens that are both known to be good.
    "login/session_records.py: hashed != self.latest",
}


class CountingPasswords(Passwords):
    """Hashes as ever, and counts."""

    count = 0

    def _fits(self, password: str, hashed: str) -> bool:
        self.count += 1
        return super()._fits(password, hashed)


class FewUsers:
    def __init__(self, *users: LocalUser) -> None:
        self._users = {user.username: user for user in users}

    async def find(self, username: str) -> LocalUser | None:
        return self._users.get(username)


@pytest.mark.parametrize("username", ["known", "disabled", "without", "unknown", "a" * 253])
@pytest.mark.parametrize("password", [PASSWORD, "wrong", "x" * 5000])
async def test_every_name_costs_one_hash(username: str, password: str) -> None:
    """Known or not, disabled or not, right or not: a login hashes once, with the same parameters."""
    passwords = CountingPasswords()
    try:
        hashed = await passwords.hash(PASSWORD)
        users = FewUsers(
            LocalUser("known", "", hashed),
            LocalUser("disabled", "", hashed, disabled=True),
            LocalUser("without", "", None),
        )
        known = hashed.split("$")[:4]
        assert passwords._nobody.split("$")[:4] == known
        person = await LocalProvider(users, passwords).authenticate(username, password)
        assert (person is not None) == (username == "known" and password == PASSWORD)
        assert passwords.count == 1
    finally:
        passwords.close()


def comparisons(file: Path) -> Iterator[str]:
    """Yield each `==` and `!=` of a file that has a secret's name on one of its sides."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Compare):
            continue
        if not any(isinstance(each, ast.Eq | ast.NotEq) for each in node.ops):
            continue
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Constant) for side in sides):
            continue
        if any(isinstance(side, ast.Call) and name_of(side.func) == "len" for side in sides):
            continue
        if any(SECRETIVE.search(name_of(side)) for side in sides):
            yield f"{file.parent.name}/{file.name}: {ast.unparse(node)}"


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Subscript):
        return name_of(node.value) + ast.unparse(node.slice)
    return name_of(node.func) if isinstance(node, ast.Call) else ""


def test_no_secret_is_compared_by_what_stops_at_the_first_difference() -> None:
    files = [file for folder in SECRET_BEARERS for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 20
    assert {found for file in files for found in comparisons(file)} <= HARMLESS


def test_such_a_comparison_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("if given.secret == token: pass\nif stored['hashed'] != x(): pass\n")
    assert len(list(comparisons(file))) == 2
    file.write_text("if compare_digest(a.secret, b): pass\nif secret == '': pass\n")
    assert list(comparisons(file)) == []
