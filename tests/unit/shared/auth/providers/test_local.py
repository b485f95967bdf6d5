from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.auth.passwords import Passwords
from shared.auth.providers.contract import Person
from shared.auth.providers.local import LocalProvider, LocalUser

PASSWORD = "correct horse battery"


class Users:
    """Implements LocalUsers, and remembers who was asked for."""

    def __init__(self, *users: LocalUser) -> None:
        self._users = {user.username: user for user in users}

    async def find(self, username: str) -> LocalUser | None:
        return self._users.get(username)


class CountingPasswords(Passwords):
    """Counts the checks: each takes the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.checks = 0

    async def verify(self, password: str, hashed: str | None) -> bool:
        self.checks += 1
        return await super().verify(password, hashed)


@pytest.fixture
async def passwords() -> AsyncIterator[CountingPasswords]:
    made = CountingPasswords()
    yield made
    made.close()


@pytest.fixture
async def login(passwords: CountingPasswords) -> LocalProvider:
    hashed = await passwords.hash(PASSWORD)
    return LocalProvider(
        Users(
            LocalUser("alice", "Alice", hashed),
            LocalUser("bob", "", hashed),
            LocalUser("carol", "Carol", hashed, disabled=True),
            LocalUser("dave", "Dave", None),
        ),
        passwords,
    )


async def test_a_user_logs_in_without_groups(login: LocalProvider) -> None:
    expected = Person("alice", "Alice", frozenset(), "local")
    assert await login.authenticate("alice", PASSWORD) == expected
    assert await login.look_up("alice") == expected
    assert await login.authenticate("bob", PASSWORD) == Person("bob", "bob", frozenset(), "local")


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "wrong"),
        ("alice", f"{PASSWORD} "),
        ("Alice", PASSWORD),
        ("carol", PASSWORD),
        ("dave", PASSWORD),
        ("dave", "nobody has this password"),
        ("nobody", PASSWORD),
        ("\ud800", PASSWORD),
        ("alice", "\ud800"),
    ],
)
async def test_timing_every_refusal_costs_one_check(
    login: LocalProvider, passwords: CountingPasswords, name: str, password: str
) -> None:
    assert await login.authenticate(name, password) is None
    assert passwords.checks == 1


@pytest.mark.parametrize(("name", "password"), [("", PASSWORD), ("alice", ""), ("", "")])
async def test_an_empty_name_or_password_is_refused(
    login: LocalProvider, name: str, password: str
) -> None:
    assert await login.authenticate(name, password) is None


@pytest.mark.parametrize("name", ["carol", "nobody", "", "\ud800", "ALICE"])
async def test_who_is_disabled_or_nobody_is_not_looked_up(login: LocalProvider, name: str) -> None:
    assert await login.look_up(name) is None


@settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(name=st.text(max_size=30), password=st.text(max_size=30))
@example(name="alice", password=PASSWORD)
async def test_any_text_is_at_most_its_own_users_name(
    login: LocalProvider, name: str, password: str
) -> None:
    person = await login.authenticate(name, password)
    assert person is None or (person.username, password) == (name, PASSWORD)
