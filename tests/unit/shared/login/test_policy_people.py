"""Who is asked, in which order, and what a login that nobody vouches for is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.auth.providers.contract import ProviderUnreachable
from shared.errors import HanseError, Unauthenticated
from shared.login.glass import Asked
from shared.login.policy_people import _refusal
from tests.unit.shared.login.conftest import FIRST_SECRET, Server


async def refused(server: Server, username: str, password: str = "some password") -> HanseError:
    with pytest.raises(HanseError) as caught:
        await server.login(username, password)
    return caught.value


async def test_the_first_that_vouches_wins(server: Server) -> None:
    server.obey(providers=["radius", "ldap"])
    for provider in (server.ldap, server.radius):
        provider.people["ann"] = "the password of ann"
    found = await server.login("ann", "the password of ann")
    assert (found.person.provider, found.roles, found.is_emergency) == ("radius", (), False)
    assert server.ldap.asked == []


async def test_a_refusal_asks_the_next(server: Server) -> None:
    server.obey(providers=["radius", "ldap"])
    server.ldap.people["ann"] = "the password of ann"
    assert (await server.login("ann", "the password of ann")).person.provider == "ldap"
    assert server.radius.asked == ["ann"]


async def test_whatever_the_name_the_same_are_asked_in_the_same_order(server: Server) -> None:
    server.obey(providers=["ldap", "radius", "local"])
    server.ldap.people["ann"] = "the password of ann"
    codes = {(await refused(server, name)).code for name in ("ann", "nobody", "admin", "x" * 300)}
    assert codes == {"wrong_credentials"}
    assert server.ldap.asked == server.radius.asked == ["ann", "nobody", "admin", "x" * 300]


async def test_one_who_can_vouch_is_enough_though_another_is_down(server: Server) -> None:
    server.obey(providers=["ldap", "radius"])
    server.ldap.is_up = False
    server.radius.people["ann"] = "the password of ann"
    assert (await server.login("ann", "the password of ann")).person.provider == "radius"


@pytest.mark.parametrize("name", ["ann", "nobody", "admin"])
async def test_with_somebody_who_cannot_be_asked_it_is_503_and_never_401(
    server: Server, name: str
) -> None:
    server.obey(providers=["ldap", "local"])
    server.ldap.is_up = False
    found = await refused(server, name)
    assert isinstance(found, ProviderUnreachable)
    assert found.code == "provider_unreachable"


async def test_nobody_is_asked_whom_the_policy_does_not_name(server: Server) -> None:
    server.obey(providers=["ldap"], breakGlass="forbidden")
    server.ldap.is_up = False
    server.radius.people["ann"] = "the password of ann"
    assert (await refused(server, "ann", "the password of ann")).code == "provider_unreachable"
    assert (await refused(server, "admin", FIRST_SECRET)).code == "provider_unreachable"
    assert server.radius.asked == []


async def test_no_answer_says_who_refused_and_the_trail_does(server: Server) -> None:
    server.obey(providers=["ldap", "radius"])
    found = await refused(server, "ann")
    assert "ldap" not in found.message
    assert found.detail == "ldap: refused; radius: refused"
    server.ldap.is_up = False
    found = await refused(server, "ann")
    assert "10.9.8.7" not in found.message
    assert found.detail is not None
    assert "10.9.8.7" in found.detail


async def test_local_users_who_are_forbidden_are_not_asked(server: Server) -> None:
    assert (await server.login()).person.provider == "local"
    server.obey(providers=["ldap", "local"], localUsers="forbidden")
    assert (await refused(server, "admin", FIRST_SECRET)).code == "wrong_credentials"
    assert await server.people.look_up("local", "admin") is None
    server.obey(providers=["ldap", "local"])
    assert (await server.login()).roles == ("global-admin",)
    assert await server.people.look_up("local", "admin") is not None


async def test_a_directory_can_make_nobody_an_account_of_this_server(server: Server) -> None:
    server.obey(providers=["ldap"])
    server.ldap.people |= {"admin": "a directory's password", "Admin": "a directory's password"}
    for name in ("admin", "Admin"):
        found = await refused(server, name, "a directory's password")
        assert found.code == "wrong_credentials"
        assert await server.people.look_up("ldap", name) is None


async def test_lifetimes_are_the_policys(server: Server) -> None:
    server.obey(tokens={"access": "90s", "refresh": "2d"})
    found = await server.people.lifetimes()
    assert (found.access.total_seconds(), found.refresh.total_seconds()) == (90, 172_800)


@given(
    st.lists(
        st.builds(
            Asked,
            st.sampled_from(["ldap", "radius", "local"]),
            st.sampled_from(["refused", "unreachable"]),
        )
    )
)
def test_it_is_401_only_if_everybody_was_asked(asked: list[Asked]) -> None:
    everybody = all(each.answer == "refused" for each in asked)
    assert isinstance(_refusal(asked), Unauthenticated) == everybody
