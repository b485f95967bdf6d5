"""Login servers that are down: 503 and never 401, nobody is asked whom the policy doesn't name, sessions
live on, and the emergency account opens, for an hour, to its secret alone, with an alert.

The FSM, its TLS and store are real, and so are slapd and freeradius.  Only the clock is moved.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from shared.errors import HanseError
from shared.http.peer import PeerClient
from tests.directory import PASSWORDS, SERVICE_PASSWORD, Directory, directory_server
from tests.integration.fsm.harness import FSM, PASSWORD, ShiftedClock
from tests.radius import SECRET, RadiusServer, radius_server

pytestmark = pytest.mark.slapd


class MovedClock(ShiftedClock):
    """Also what only ever goes on, such as a provider's pause, is ahead."""

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()


@dataclass
class World:
    """A federation whose people log in by servers that a test stops."""

    fsm: FSM
    clock: MovedClock

    async def login(self, username: str, password: str) -> "Visitor":
        # Behind a minute nobody is limited for what was tried before, and no server is let alone.
        self.clock.ahead += timedelta(seconds=61)
        visitor = self.fsm.visitor()
        body = {"username": username, "password": password}
        answer = (await visitor.post("/api/v1/login", body)).json()
        return Visitor(self.fsm.visitor(lambda: answer["accessToken"]), answer)

    async def refused(self, username: str, password: str) -> str:
        with pytest.raises(HanseError) as caught:
            await self.login(username, password)
        return caught.value.code

    async def put(self, by: "Visitor", kind: str, plural: str, name: str, spec: Any) -> None:
        document = {
            "apiVersion": "hanse/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        params = {"force": "true"}
        await by.client.put(f"/api/v1/{plural}/{name}", document, params=params)

    async def obey(self, by: "Visitor", **spec: Any) -> None:
        """Let a policy count; the watch brings it at once."""
        await self.put(by, "AuthenticationPolicy", "authenticationpolicies", "login", spec)


@dataclass
class Visitor:
    """Somebody who is logged in."""

    client: PeerClient
    answer: dict[str, Any]

    async def whoami(self) -> Any:
        return (await self.client.get("/api/v1/whoami")).json()

    async def renew(self) -> "Visitor":
        body = {"refreshToken": self.answer["refreshToken"]}
        return Visitor(self.client, (await self.client.post("/api/v1/login/renew", body)).json())

    async def code(self) -> str:
        """Return why the session isn't let in; ok if it is."""
        try:
            await self.whoami()
        except HanseError as exc:
            return exc.code
        return "ok"

    async def ends(self) -> None:
        """Wait until the session has ended; pytest-timeout ends a wait for ever."""
        while await self.code() == "ok":
            pass


@asynccontextmanager
async def serving(stopped: FSM) -> AsyncIterator[tuple[World, Visitor]]:
    clock = MovedClock()
    fsm = FSM(stopped.data, clock, stopped.settings)
    async with fsm.serving():
        world = World(fsm, clock)
        yield world, await world.login("admin", PASSWORD)


@pytest.fixture
def directory() -> Iterator[Directory]:
    with directory_server() as server:
        yield server


@pytest.fixture
def radius() -> Iterator[RadiusServer]:
    with radius_server() as server:
        yield server


async def by_directory(world: World, admin: Visitor, directory: Directory, **spec: Any) -> Visitor:
    """Let people log in by the directory; return alice, who may do everything."""
    credential = {"secret": SERVICE_PASSWORD}
    await world.put(admin, "Credential", "credentials", "directory", credential)
    binding = {"role": "global-admin", "subjects": [{"kind": "Group", "name": "admins"}]}
    await world.put(admin, "RoleBinding", "rolebindings", "admins", binding)
    await world.obey(admin, providers=["ldap"], ldap=directory.settings(), **spec)
    while True:
        try:
            return await world.login("alice", PASSWORDS["alice"])
        except HanseError as exc:
            assert exc.code == "wrong_credentials"  # noqa: PT017


async def test_a_directory_that_is_down_is_503_and_sessions_live_on(
    stopped: FSM, directory: Directory
) -> None:
    async with serving(stopped) as (world, admin):
        alice = await by_directory(world, admin, directory, breakGlass="forbidden")
        assert await world.refused("alice", "not her password") == "wrong_credentials"

        directory.stop()
        for username, password in (
            ("alice", PASSWORDS["alice"]),
            ("alice", "not her password"),
            ("nobody", "any password"),
            ("admin", PASSWORD),
        ):
            assert await world.refused(username, password) == "provider_unreachable"
        assert (await alice.whoami())["identity"] == "user:alice"
        alice = await alice.renew()
        assert await alice.code() == "ok"

        directory.start()
        again = await world.login("alice", PASSWORDS["alice"])
        assert (await again.whoami())["roles"] == ["global-admin"]


async def test_once_the_directory_administers_the_first_administrator_is_out(
    stopped: FSM, directory: Directory
) -> None:
    async with serving(stopped) as (world, admin):
        assert (await admin.whoami())["emergency"] is False
        await by_directory(world, admin, directory)
        await admin.ends()
        assert await world.refused("admin", PASSWORD) == "wrong_credentials"


async def test_the_emergency_account_opens_while_the_directory_is_down(
    stopped: FSM, directory: Directory
) -> None:
    async with serving(stopped) as (world, admin):
        await by_directory(world, admin, directory, localUsers="forbidden")
        assert await world.refused("admin", PASSWORD) == "wrong_credentials"

        directory.stop()
        assert await world.refused("admin", "not the secret") == "provider_unreachable"
        emergency = await world.login("admin", PASSWORD)
        found = await emergency.whoami()
        assert (found["emergency"], found["roles"]) == (True, ["global-admin"])
        status = (await emergency.client.get("/api/v1/status")).json()
        assert status["breakGlass"]["state"] == "open"
        told = [(each["type"], each["severity"]) for each in status["events"]]
        assert ("break-glass.opened", "critical") in told
        metrics = (await emergency.client.get("/metrics")).body.decode()
        assert "hanse_break_glass_open 1.0" in metrics

        # The directory is back: nobody else comes in, and after the hour nobody is in.
        directory.start()
        assert await world.refused("admin", PASSWORD) == "wrong_credentials"
        assert await emergency.code() == "ok"
        world.clock.ahead += timedelta(hours=1)
        assert await emergency.code() in ("token_expired", "token_revoked")

        # Sealed anew: the secret of before opens nothing.
        file = stopped.data / "break-glass"
        while not file.exists():
            await emergency.code()
        secret = file.read_text().split("secret: ")[1].strip()
        directory.stop()
        assert await world.refused("admin", PASSWORD) == "provider_unreachable"
        assert (await (await world.login("admin", secret)).whoami())["emergency"] is True


async def test_a_radius_server_that_is_down_is_503_too(stopped: FSM, radius: RadiusServer) -> None:
    async with serving(stopped) as (world, admin):
        await world.put(admin, "Credential", "credentials", "radius", {"secret": SECRET})
        await world.obey(
            admin,
            providers=["radius"],
            radius={"servers": [f"127.0.0.1:{radius.port}"], "credential": "radius"},
            breakGlass="forbidden",
        )
        while True:
            try:
                alice = await world.login("alice", PASSWORDS["alice"])
                break
            except HanseError as exc:
                assert exc.code == "wrong_credentials"  # noqa: PT017
        radius.stop()
        assert await world.refused("alice", PASSWORDS["alice"]) == "provider_unreachable"
        assert await world.refused("nobody", "any password") == "provider_unreachable"
        assert await alice.code() == "ok"


async def test_who_is_named_next_is_asked_and_nobody_else(
    stopped: FSM, directory: Directory, radius: RadiusServer
) -> None:
    async with serving(stopped) as (world, admin):
        await world.put(admin, "Credential", "credentials", "radius", {"secret": SECRET})
        settings = {"servers": [f"127.0.0.1:{radius.port}"], "credential": "radius"}
        await by_directory(world, admin, directory, radius=settings)
        alice = await world.login("alice", PASSWORDS["alice"])
        directory.stop()
        # RADIUS would let her in, but the policy doesn't name it.
        assert await world.refused("alice", PASSWORDS["alice"]) == "provider_unreachable"
        await world.obey(
            alice, providers=["ldap", "radius"], ldap=directory.settings(), radius=settings
        )
        while True:
            try:
                found = await world.login("alice", PASSWORDS["alice"])
                break
            except HanseError as exc:
                assert exc.code == "provider_unreachable"  # noqa: PT017
        assert (await found.whoami())["identity"] == "user:alice"
