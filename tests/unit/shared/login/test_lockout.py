"""Writing a policy that would lock its author out is asked about first."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest

from shared.access.permissions import Permission
from shared.auth.identity import Caller, CallerKind, Grant
from shared.auth.providers.contract import Provider
from shared.errors import Invalid
from shared.login.effective import federation_policy, site_policy
from shared.login.providers import Providers, counting
from shared.login.session_records import SESSIONS
from shared.metrics.names import Metrics
from shared.model.documents import parse_value
from shared.model.settings_policies import AuthenticationPolicy
from shared.objects.call import Call
from shared.objects.lockout import LockOut
from shared.objects.service import Objects, Options, Write
from shared.objects.trail import Trail
from shared.store.contract import Draft
from tests.fakes.login_providers import ScriptedProvider
from tests.fakes.secrets import secrets_of
from tests.unit.shared.login.conftest import Server

LDAP = {"servers": ["ldaps://ldap.example:636"], "base": "dc=example"}
AUTHOR = Caller(
    CallerKind.PERSON,
    "user:ann",
    "ann",
    grants=(Grant("global-admin", frozenset(Permission)),),
    session="s1",
)


class OnlyScripted(Providers):
    """Tries the test's provider, and notes with which secrets."""

    ldap: ScriptedProvider
    given: Mapping[str, str] = MappingProxyType({})

    @asynccontextmanager
    async def tried(
        self, policy: AuthenticationPolicy, *, given: Mapping[str, str] = MappingProxyType({})
    ) -> AsyncIterator[list[Provider]]:
        self.given = given
        assert counting(policy) == ("ldap",)
        yield [self.ldap]


class Writing:
    """The objects of a server whose author logged in by some provider."""

    def __init__(self, server: Server, home: Any = "fsm") -> None:
        self.server, self.home = server, home
        self.providers = OnlyScripted(
            server.store,
            secrets=secrets_of(server.clock),
            users=None,  # type: ignore[arg-type]
            passwords=server.passwords,
            scope="federation",
            clock=server.clock,
        )
        self.providers.ldap = server.ldap
        judge = federation_policy if home == "fsm" else partial(site_policy, "sfo")
        self.objects = Objects(
            store=server.store,
            home=home,
            admission=LockOut(judge=judge, now=server.clock.now, providers=self.providers),
            trail=Trail(store=server.store, clock=server.clock),
            clock=server.clock,
            metrics=Metrics(),
            secrets=secrets_of(server.clock),
        )

    async def logged_in(self, provider: str) -> None:
        async def work(transaction: Any) -> None:
            facts = {"provider": provider, "username": "ann"}
            await transaction.put_record(SESSIONS, "s1", facts)

        await self.server.store.transact(work)

    async def write(
        self, *documents: dict[str, Any], caller: Caller = AUTHOR, **options: Any
    ) -> None:
        writes = []
        for each in documents:
            envelope, faults = parse_value({"apiVersion": "hanse/v1", **each})
            assert envelope is not None, faults
            default = "federation" if self.home == "fsm" else "site"
            writes.append(Write(envelope.key(default), envelope))
        await self.objects.apply(Call(caller, "r"), writes, Options(**options))


def policy(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"kind": "AuthenticationPolicy", "metadata": {"name": name}, "spec": spec}


async def refused(writing: Writing, *documents: dict[str, Any], **more: Any) -> str:
    with pytest.raises(Invalid) as caught:
        await writing.write(*documents, **more)
    assert {each.code for each in caught.value.fields} == {"would_lock_out"}
    return caught.value.message


@pytest.fixture
def writing(server: Server) -> Writing:
    return Writing(server)


async def test_a_local_user_who_forbids_local_users_is_asked(writing: Writing) -> None:
    await writing.logged_in("local")
    ldap = policy(providers=["ldap"], ldap=LDAP)
    assert "provider local" in await refused(writing, ldap)
    await refused(writing, ldap, dry_run=True)
    await refused(writing, policy(localUsers="forbidden"))
    await writing.write(policy(providers=["ldap", "local"], ldap=LDAP))
    await writing.write(ldap, force=True)


async def test_what_does_not_count_here_or_changes_nothing_is_not_asked_about(
    writing: Writing,
) -> None:
    await writing.logged_in("local")
    await writing.write(policy(localUsers="forbidden", sites={"matchLabels": {"env": "x"}}))
    await writing.write(policy("a"))
    # Behind a, it doesn't count.
    await writing.write(policy("b", localUsers="forbidden"))
    # Without a, it would.
    key = await _key(writing, "a")
    with pytest.raises(Invalid) as caught:
        await writing.objects.apply(Call(AUTHOR, "r"), [Write(key, None)])
    assert caught.value.code == "would_lock_out"


async def test_whom_the_directory_does_not_know_or_cannot_be_asked_about_is_asked(
    writing: Writing,
) -> None:
    await writing.logged_in("ldap")
    ldap = policy(providers=["ldap"], ldap=LDAP)
    assert "doesn't know you" in await refused(writing, ldap)
    writing.server.ldap.people["ann"] = "any"
    writing.server.ldap.is_up = False
    assert "is down" in await refused(writing, ldap)
    writing.server.ldap.is_up = True
    await writing.write(ldap)


async def test_a_provider_that_tells_nothing_without_a_password_must_answer(
    writing: Writing,
) -> None:
    class DirectBind(ScriptedProvider):
        async def look_up(self, username: str) -> None:
            raise NotImplementedError

    writing.providers.ldap = DirectBind("ldap")
    await writing.logged_in("ldap")
    await writing.write(policy(providers=["ldap"], ldap=LDAP))
    assert writing.providers.ldap.asked == ["hanse-probe"]


async def test_secrets_that_come_along_are_used(writing: Writing) -> None:
    await writing.logged_in("ldap")
    writing.server.ldap.people["ann"] = "any"
    settings = {**LDAP, "bindDn": "cn=hanse", "credential": "directory"}
    credential = {
        "kind": "Credential",
        "metadata": {"name": "directory"},
        "spec": {"secret": "the service account's"},
    }
    await writing.write(credential, policy(providers=["ldap"], ldap=settings))
    assert writing.providers.given == {"directory": "the service account's"}


async def test_the_emergency_account_may_not_shut_itself_out(writing: Writing) -> None:
    emergency = replace(AUTHOR, is_emergency=True)
    await refused(writing, policy(breakGlass="forbidden"), caller=emergency)
    await writing.write(policy(providers=["ldap"], ldap=LDAP), caller=emergency)


async def test_programs_are_not_asked(writing: Writing) -> None:
    program = replace(AUTHOR, kind=CallerKind.SERVICE_ACCOUNT, session=None)
    await writing.write(policy(localUsers="forbidden"), caller=program)


async def test_an_exception_at_a_site_is_judged_as_well(server: Server) -> None:
    writing = Writing(server, "sdsp")
    await writing.logged_in("local")

    async def inherited(transaction: Any) -> None:
        for kind, name, spec in (
            ("Site", "sfo", {}),
            ("AuthenticationPolicy", "p", {"providers": ["local"]}),
        ):
            key = (await _key(writing, name))._replace(kind=kind, scope="federation")
            await transaction.put(Draft(key, spec, origin="federation"))

    await server.store.transact(inherited)
    override = {
        "kind": "Override",
        "metadata": {"name": "o"},
        "spec": {
            "target": {"kind": "AuthenticationPolicy", "name": "p"},
            "reason": "r",
            "spec": {"localUsers": "forbidden"},
        },
    }
    await refused(writing, override)


async def _key(writing: Writing, name: str) -> Any:
    envelope, _ = parse_value({"apiVersion": "hanse/v1", **policy(name)})
    assert envelope is not None
    return envelope.key("federation" if writing.home == "fsm" else "site")
