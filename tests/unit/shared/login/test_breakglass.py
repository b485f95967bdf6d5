"""The emergency account: when it opens, for how long, and what is left of it."""

import stat
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Conflict, HanseError
from shared.login.breakglass import OPEN_FOR, open_by_hand
from shared.login.glass import Asked, Glass, answer_of, may_open, upward_of
from shared.model.settings_policies import AuthenticationPolicy
from tests.fakes.clock import VirtualClock
from tests.unit.shared.login.conftest import EVERYTHING, FIRST_SECRET, Server, limited

NOW = VirtualClock().now()
FORBIDDEN = {"providers": ["ldap", "local"], "localUsers": "forbidden"}


async def code_of(server: Server, username: str = "admin", password: str = FIRST_SECRET) -> str:
    with pytest.raises(HanseError) as caught:
        await server.login(username, password)
    return caught.value.code


async def test_the_first_administrator_is_an_ordinary_one_at_first(server: Server) -> None:
    found = await server.login()
    assert (found.is_emergency, found.expires_at, found.roles) == (False, None, ("global-admin",))
    assert not server.is_alarming


async def test_once_a_directory_administers_the_first_one_is_sealed(server: Server) -> None:
    await server.sealed()
    assert await code_of(server) == "wrong_credentials"
    ((action, identity, _),) = await server.audit()
    assert (action, identity) == ("seal break-glass", "user:boss")
    # Once: what is sealed isn't sealed again.
    await server.login("boss", "boss's own password")
    assert len(await server.audit()) == 1


@pytest.mark.parametrize(
    "grants",
    [
        pytest.param((), id="nobody in particular"),
        pytest.param((limited(EVERYTHING, role="viewer"),), id="another role"),
        pytest.param((limited(EVERYTHING, tenants=frozenset({"shop"})),), id="of one tenant"),
        pytest.param((limited(EVERYTHING, scopes=frozenset({"site"})),), id="in one scope"),
        pytest.param((limited(EVERYTHING, labels=lambda _: True),), id="of some labels"),
    ],
)
async def test_whoever_may_not_do_everything_seals_nothing(server: Server, grants) -> None:
    server.obey(providers=["ldap", "local"])
    server.ldap.people["ann"] = "the password of ann"
    server.grants.by_name["ann"] = grants
    await server.login("ann", "the password of ann")
    assert (await server.login()).roles == ("global-admin",)


async def test_a_local_user_seals_nothing(server: Server) -> None:
    server.grants.by_name["admin"] = (EVERYTHING,)
    await server.login()
    assert await server.audit() == []


async def test_it_opens_while_no_directory_can_be_reached(server: Server) -> None:
    await server.sealed()
    server.obey(**FORBIDDEN)
    server.ldap.is_up = False
    found = await server.login()
    assert found.is_emergency
    assert found.expires_at == server.clock.now() + OPEN_FOR
    assert found.roles == ("global-admin",)
    assert server.is_alarming
    assert await server.events() == [("break-glass.opened", "critical")]
    action, identity, reason = (await server.audit())[-1]
    assert (action, identity, reason) == ("open break-glass", "user:admin", "ldap: unreachable")


async def test_a_refusal_is_an_answer_and_keeps_it_sealed(server: Server) -> None:
    await server.sealed()
    server.obey(providers=["ldap", "radius"])
    server.ldap.is_up = False
    assert await code_of(server) == "provider_unreachable"
    server.radius.is_up = False
    assert (await server.login()).is_emergency


async def test_it_opens_to_its_own_secret_and_name_only(server: Server) -> None:
    await server.sealed()
    server.ldap.is_up = False
    for username, password in (
        ("admin", "not the secret at all"),
        ("boss", FIRST_SECRET),
        ("Admin", FIRST_SECRET),
        ("", FIRST_SECRET),
        ("admin", ""),
    ):
        assert await code_of(server, username, password) == "provider_unreachable"
    assert not server.is_alarming
    assert await server.events() == []


async def test_a_policy_may_forbid_it(server: Server) -> None:
    await server.sealed()
    server.ldap.is_up = False
    server.obey(**FORBIDDEN, breakGlass="forbidden")
    assert await code_of(server) == "provider_unreachable"


async def test_local_users_that_are_forbidden_do_not_shut_it(server: Server) -> None:
    server.obey(**FORBIDDEN)
    # Never sealed, since the directory never worked: the way out is the same.
    server.ldap.is_up = False
    assert (await server.login()).is_emergency


async def test_where_nobody_else_could_log_in_it_opens(server: Server) -> None:
    await server.sealed()
    server.obey(providers=["local"], localUsers="forbidden")
    assert (await server.login()).is_emergency


async def test_who_comes_later_has_what_is_left_of_the_hour(server: Server) -> None:
    await server.sealed()
    server.ldap.is_up = False
    first = await server.login()
    server.clock.advance(40 * 60)
    second = await server.login()
    assert second.expires_at == first.expires_at
    assert len(await server.events()) == 1
    # The directory is back: whoever is in stays, nobody else comes in.
    server.ldap.is_up = True
    assert await code_of(server) == "wrong_credentials"
    assert await server.people.look_up("local", "admin") is not None
    server.clock.advance(20 * 60)
    assert await server.people.look_up("local", "admin") is None


async def test_after_an_hour_it_is_sealed_with_a_new_secret(server: Server) -> None:
    await server.sealed()
    server.ldap.is_up = False
    await server.login()
    await server.glass.reconcile()
    assert server.is_alarming

    server.clock.advance(3600)
    # Even before anybody has sealed it.
    assert await code_of(server) == "provider_unreachable"
    await server.glass.reconcile()
    assert not server.is_alarming
    assert await server.events() == [
        ("break-glass.sealed", "warning"),
        ("break-glass.opened", "critical"),
    ]
    assert await code_of(server) == "provider_unreachable"

    file = server.data / "break-glass"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (await server.login(password=server.new_secret)).is_emergency
    assert not [each for each in server.data.iterdir() if each.name.startswith(".break")]


async def test_a_server_that_died_while_sealing_finds_the_secret_again(server: Server) -> None:
    await server.sealed()
    server.ldap.is_up = False
    await server.login()
    server.clock.advance(3600)
    await server.glass.reconcile()
    # As if it had been killed before the file had its name.
    glass = await server.glass.glass()
    assert glass is not None
    (server.data / "break-glass").rename(server.data / f".break-glass.{glass.secret}")
    await server.glass.reconcile()
    assert (await server.login(password=server.new_secret)).is_emergency


async def test_two_processes_seal_it_once(server: Server) -> None:
    await server.sealed()
    server.ldap.is_up = False
    await server.login()
    server.clock.advance(3600)
    glass = await server.glass.glass()
    assert glass is not None
    await server.glass._seal_anew(glass)
    secret = server.new_secret
    await server.glass._seal_anew(glass)
    assert server.new_secret == secret
    assert (await server.login(password=secret)).is_emergency


async def by_hand(server: Server, **options) -> str:
    opened = await open_by_hand(
        server.store,
        policy=server.policy,
        passwords=server.passwords,
        metrics=server.metrics,
        clock=server.clock,
        reason="the directory knows nobody",
        **options,
    )
    assert opened.account == "admin"
    return opened.secret


async def test_from_the_console_it_opens_though_the_directory_answers(server: Server) -> None:
    await server.sealed()
    server.obey(**FORBIDDEN)
    assert await code_of(server) == "wrong_credentials"
    secret = await by_hand(server)
    assert await code_of(server) == "wrong_credentials"
    found = await server.login(password=secret)
    assert found.is_emergency
    await server.glass.reconcile()
    assert server.is_alarming
    action, identity, reason = (await server.audit())[-1]
    assert (action, identity) == ("open break-glass", "system:console")
    assert reason == "from the console: the directory knows nobody"
    server.clock.advance(3600)
    await server.glass.reconcile()
    assert await code_of(server, password=secret) == "wrong_credentials"


async def test_the_console_needs_a_word_more_where_the_policy_forbids_it(server: Server) -> None:
    server.obey(**FORBIDDEN, breakGlass="forbidden")
    with pytest.raises(Conflict) as caught:
        await by_hand(server)
    assert caught.value.code == "break_glass_forbidden"
    secret = await by_hand(server, despite_policy=True)
    assert (await server.login(password=secret)).is_emergency
    assert await server.people.look_up("local", "admin") is not None


def test_status_tells_that_it_is_open_and_until_when() -> None:
    glass = Glass(account="admin")
    assert answer_of(None, NOW) is upward_of(glass, NOW) is None
    told = answer_of(glass, NOW)
    assert told is not None
    assert told["state"] == "first"
    opened = Glass(account="admin", opened_at=NOW, open_until=NOW + OPEN_FOR, opened_by="login")
    told = answer_of(opened, NOW)
    assert told is not None
    assert (told["state"], told["openedBy"]) == ("open", "login")
    assert upward_of(opened, NOW) == {
        "openedAt": NOW.isoformat(),
        "openUntil": (NOW + OPEN_FOR).isoformat(),
    }
    over = answer_of(opened, NOW + OPEN_FOR)
    assert over is not None
    assert (over["state"], over["openUntil"]) == ("sealed", None)


ASKED = st.lists(
    st.builds(
        Asked,
        st.sampled_from(["ldap", "radius", "local"]),
        st.sampled_from(["refused", "unreachable"]),
    )
)


@given(
    asked=ASKED,
    forbidden=st.booleans(),
    by=st.sampled_from(["login", "console", None]),
    left=st.sampled_from([-1, 0, 1]),
    despite=st.booleans(),
)
def test_it_opens_by_the_rule_as_written(asked, forbidden, by, left, despite) -> None:
    glass = Glass(
        account="admin",
        sealed_at=NOW,
        open_until=None if by is None else NOW + timedelta(seconds=left),
        opened_by=by,
        despite_policy=despite,
    )
    policy = AuthenticationPolicy.model_validate(
        {"breakGlass": "forbidden" if forbidden else "allowed"}
    )
    console = by == "console" and left > 0
    answered = any(a.provider != "local" and a.answer != "unreachable" for a in asked)
    expected = (console and (despite or not forbidden)) or (not forbidden and not answered)
    assert may_open(glass, policy, asked, NOW) == expected
