from collections.abc import Iterator

import pytest

from shared.auth.passwords import Passwords
from shared.errors import Invalid


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


async def test_only_the_right_password_fits(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct horse")
    assert hashed.startswith("$argon2id$")
    assert await passwords.verify("correct horse", hashed)
    assert not await passwords.verify("correct horsf", hashed)
    assert not await passwords.verify("", hashed)
    assert not await passwords.verify("correct horse", "not a hash")


async def test_nobodys_password_never_fits(passwords: Passwords) -> None:
    assert not await passwords.verify("nobody has this password", None)


async def test_a_password_is_not_cut_to_fit(passwords: Passwords) -> None:
    hashed = await passwords.hash("x" * 1024)
    assert await passwords.verify("x" * 1024, hashed)
    assert not await passwords.verify("x" * 1025, hashed)


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
async def test_too_short_and_too_long_are_refused(passwords: Passwords, password: str) -> None:
    with pytest.raises(Invalid) as caught:
        await passwords.hash(password)
    assert caught.value.code == "weak_password"
