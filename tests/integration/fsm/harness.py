"""A real FSM on loopback, over a real store and real TLS, and those who call it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from fsm.app import Federation, running
from fsm.settings import FSMSettings, Listen
from fsm.trust import FSMCredentials, create_trust
from shared.auth.passwords import Passwords
from shared.backoff import Backoff
from shared.clock import SystemClock
from shared.enrolment.joining import join
from shared.feed.connect import Connector
from shared.feed.follow import Follower
from shared.feed.wire import Changes, FeedObject, Position, Put, Refusal, Snapshot
from shared.http.peer import PeerClient
from shared.ids import Key
from shared.objects.accounts import create_account
from shared.pki.authority import Authority
from shared.pki.certificates import Certificate, certificates_from_pem
from shared.pki.credentials import Credentials
from shared.pki.csr import create_csr
from shared.pki.identity import Expectation, Role, SpiffeId, TrustDomain
from shared.pki.jointoken import JoinToken
from shared.pki.keys import generate_key
from shared.pki.tls import ServerCheck, client_context, visitor_context
from shared.store.sql import open_store
from tests.fakes.tokens import stored_token, token_for

TRUST_DOMAIN = TrustDomain("hanse.example")
PASSWORD = "correct horse battery"


class ShiftedClock(SystemClock):
    """The machine's clock, ahead by `ahead`: TLS itself is judged by the machine's own time."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@dataclass
class FSM:
    """One FSM that can be stopped and started again on its port, and its clients."""

    data: Path
    clock: ShiftedClock
    settings: FSMSettings
    federation: Federation | None = None
    clients: list[PeerClient] = field(default_factory=list)
    _token: tuple[Federation, str] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.settings.listen.port}"

    @property
    def running(self) -> Federation:
        assert self.federation is not None
        return self.federation

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Federation]:
        async with running(
            self.settings, self.data, clock=self.clock, source=random.Random(1)
        ) as federation:
            self.settings = self.settings.model_copy(
                update={"listen": Listen(port=federation.server.port)}
            )
            self.federation = federation
            try:
                yield federation
            finally:
                self.federation = None
                for client in self.clients:
                    await client.close()

    def admin(self) -> "Person":
        """Return an administrator who has logged in; the login itself has tests of its own."""
        return Person(self.visitor(self.admin_token))

    def admin_token(self) -> str:
        """Return the token of an administrator of the server that runs now."""
        if self.federation is None:
            return self._stored_token
        if self._token is None or self._token[0] is not self.running:
            logins = self.running.logins
            text = token_for(logins, self.clock, "admin", subject="user:admin")
            self._token = (self.running, text)
        return self._token[1]

    @cached_property
    def _stored_token(self) -> str:
        """A token for a server that runs as a process of its own."""
        work = stored_token(self.data, "admin", ["admin"], server=str(SpiffeId.fsm(TRUST_DOMAIN)))
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, work).result()

    def visitor(self, token: Callable[[], str] | None = None) -> PeerClient:
        """Return a client without a certificate."""
        client = PeerClient([self.url], tls=visitor_context(self.roots), token=token)
        self.clients.append(client)
        return client

    @property
    def roots(self) -> tuple[Certificate, ...]:
        return FSMCredentials.beneath(self.data).roots()


@dataclass
class Person:
    """An administrator's client."""

    client: PeerClient

    async def put(self, plural: str, name: str, spec: dict[str, Any], **metadata: Any) -> Any:
        kinds = {
            "sites": "Site",
            "regions": "Region",
            "tenants": "Tenant",
            "networks": "Network",
            "services": "Service",
            "securitypolicies": "SecurityPolicy",
            "loadbalancers": "LoadBalancer",
            "servicepolicies": "ServicePolicy",
        }
        document = {
            "apiVersion": "hanse/v1",
            "kind": kinds[plural],
            "metadata": {"name": name, **metadata},
            "spec": spec,
        }
        place = {k: str(v) for k, v in metadata.items() if k in ("tenant", "scope")}
        return (await self.client.put(f"/api/v1/{plural}/{name}", document, params=place)).json()

    async def delete(self, plural: str, name: str) -> None:
        await self.client.request("DELETE", f"/api/v1/{plural}/{name}")

    async def token(self, site: str, *, replace: bool = False) -> str:
        params = {"replace": "true"} if replace else None
        answer = await self.client.post(f"/api/v1/sites/{site}/jointoken", {}, params=params)
        return str(answer.json()["token"])

    async def status(self, **params: str) -> Any:
        return (await self.client.get("/api/v1/status", params=params)).json()


@dataclass
class JoinedSite:
    """A site's CA and SDSP certificate, and a client that shows it."""

    authority: Authority
    credentials: Credentials
    client: PeerClient


async def join_site(fsm: FSM, token: str) -> JoinedSite:
    """Join as `hanse sdsp join` does, and connect with the certificate that follows."""
    key = generate_key()
    parsed = JoinToken.parse(token)
    admitted = await join(fsm.url, parsed, path="/enroll/v1/join", body={"csr": create_csr(key)})
    chain = certificates_from_pem(admitted.answer["chain"])
    roots = certificates_from_pem(admitted.answer["roots"])
    authority = Authority(Credentials(key, chain, roots), clock=SystemClock())
    credentials = sdsp_credentials(authority)
    return JoinedSite(authority, credentials, connect(fsm, credentials))


def sdsp_credentials(authority: Authority) -> Credentials:
    assert authority.site is not None
    own = generate_key()
    leaf = authority.issue_leaf(
        create_csr(own), SpiffeId.sdsp(authority.trust_domain, authority.site)
    )
    return Credentials(own, leaf, authority.credentials.roots)


def connect(fsm: FSM, credentials: Credentials) -> PeerClient:
    check = ServerCheck(TRUST_DOMAIN, (Expectation(Role.FSM),), revoked=lambda _: False)
    client = PeerClient([fsm.url], tls=client_context(credentials, check=check))
    fsm.clients.append(client)
    return client


class MemoryCopy:
    """A site's copy; `refusing` maps object names to the code of their refusal."""

    def __init__(self) -> None:
        self.at: Position | None = None
        self.objects: dict[Key, FeedObject] = {}
        self.listed = 0
        self.refusing: dict[str, str] = {}
        self.removed: dict[str, str] = {}
        self._moved = asyncio.Event()

    async def until(self, check: Callable[[], bool]) -> None:
        """Return once `check` holds after a step; pytest-timeout ends a test that waits for ever."""
        while not check():
            self._moved.clear()
            await self._moved.wait()

    async def position(self) -> Position | None:
        return self.at

    async def replace(self, snapshot: Snapshot) -> Sequence[Refusal]:
        self.listed += 1
        self.objects = {each.key: each for each in snapshot.objects}
        self.removed |= {each.key.name: each.reason.value for each in snapshot.tombstones}
        self._reached(snapshot.position)
        return self._refusals(self.objects)

    async def apply(self, changes: Changes) -> Sequence[Refusal]:
        for change in changes.changes:
            if isinstance(change, Put):
                self.objects[change.key] = change.object
            else:
                del self.objects[change.key]
                self.removed[change.key.name] = change.reason.value
        self._reached(changes.position)
        return self._refusals(each.key for each in changes.changes)

    async def advance(self, position: Position) -> None:
        self._reached(position)

    def _reached(self, position: Position) -> None:
        self.at = position
        self._moved.set()

    def names(self, kind: str) -> set[str]:
        return {key.name for key in self.objects if key.kind == kind}

    def _refusals(self, keys: Any) -> list[Refusal]:
        return [Refusal(k, self.refusing[k.name]) for k in keys if k.name in self.refusing]


def follow(client: PeerClient, copy: MemoryCopy, **options: Any) -> Follower:
    clock = SystemClock()
    backoff = Backoff(first=0.05, longest=0.2, source=random.Random(1))
    connector = Connector(peer="the FSM", clock=clock, backoff=backoff)
    return Follower(transport=client, copy=copy, connector=connector, **options)


async def prepare(folder: Path) -> FSM:
    """Return an FSM whose folder is prepared, and that isn't running yet."""
    clock = ShiftedClock()
    settings = FSMSettings(listen=Listen(port=0))
    credentials = FSMCredentials.beneath(folder)
    create_trust(credentials, TRUST_DOMAIN, settings.server_names, clock=clock)
    store = await open_store(settings.database_url(folder), clock=clock, create=True)
    passwords = Passwords()
    await create_account(store, "admin", PASSWORD, passwords=passwords, clock=clock)
    passwords.close()
    await store.close()
    return FSM(folder, clock, settings)
