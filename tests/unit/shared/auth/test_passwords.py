import runpy
from collections.abc import Iterator

import pytest
from argon2 import extract_parameters
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from shared.auth import passwords as module
from shared.auth.passwords import Passwords
from shared.errors import Invalid


@pytest.fixture
def passwords(real_cost: None) -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


async def test_only_the_right_password_fits(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct horse")
    # RFC 9106, section 4, second choice.
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert await passwords.verify("correct horse", hashed)
    assert not await passwords.verify("correct horsf", hashed)
    assert not await passwords.verify("", hashed)
    assert not await passwords.verify("correct horse", "not a hash")


async def test_nobodys_password_never_fits(passwords: Passwords) -> None:
    assert not await passwords.verify("nobody has this password", None)


async def test_whoever_is_not_there_costs_as_much(passwords: Passwords) -> None:
    ours = extract_parameters(await passwords.hash("correct horse"))
    assert extract_parameters(passwords._nobody) == ours
    # It is read to its end, so that all the work is done.
    with pytest.raises(VerifyMismatchError):
        passwords._hasher.verify(passwords._nobody, "correct horse")


def test_passwords_cost_what_the_rfc_recommends() -> None:
    assert runpy.run_path(module.__file__)["COST"] == RFC_9106_LOW_MEMORY


async def test_a_password_is_not_cut_to_fit(passwords: Passwords) -> None:
    hashed = await passwords.hash("x" * 1024)
    assert await passwords.verify("x" * 1024, hashed)
    assert not await passwords.verify("x" * 1025, hashed)


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
async def test_too_short_and_too_long_are_refused(passwords: Passwords, password: str) -> None:
    with pytest.raises(Invalid) as caught:
        await passwords.hash(password)
    assert caught.value.code == "weak_password"
