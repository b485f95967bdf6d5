"""A site and a node's agent over real TLS: joining, the configuration, ACK, status."""

import asyncio
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dsn.app import Agent
from dsn.settings import DSNSettings, Files, Identity, load_identity, save_identity
from dsn.upstream.enroll import enroll
from sdsp.app import Site, running
from sdsp.settings import Listen, SDSPSettings
from sdsp.upstream.apply import Inbound
from sdsp.upstream.enroll import SiteCredentials, issue_own
from shared.auth.passwords import Passwords
from shared.clock import SystemClock
from shared.errors import Conflict, Forbidden, HanseError, NotFound, Unauthenticated
from shared.feed.wire import Changes, Put, Snapshot
from shared.http.peer import PeerClient
from shared.objects.accounts import create_account
from shared.pki.credentials import CredentialsDirectory
from shared.pki.identity import Expectation, Role
from shared.pki.tls import ServerCheck, client_context, visitor_context
from shared.store.sql import open_store
from shared.tasks.group import Group
from tests.fakes.federation import TRUST_DOMAIN, Federation
from tests.integration.sdsp.test_apply import document, key, position

CLOCK = SystemClock()
PASSWORD = "correct horse battery"

INHERITED = (
    document(key("Site", "s1"), {}),
    document(key("Network", "A"), {}),
    document(
        key("SecurityPolicy", "p"),
        {
            "enforcement": "mandatory",
            "rules": [
                {"name": "in", "from": "any", "to": [{"network": "A"}], "action": "allow"},
            ],
        },
    ),
)


@asynccontextmanager
async def site(data: Path, federation: Federation) -> AsyncIterator[Site]:
    """Run the SDSP of site s1, which has heard the FSM once and is cut off since."""
    credentials = SiteCredentials.beneath(data)
    if not credentials.authority.exists():
        data.mkdir(mode=0o700)
        credentials.authority.write(federation.site("s1").credentials)
        issue_own(credentials, clock=CLOCK)
        store = await open_store(f"sqlite:///{data / 'sdsp.sqlite'}", clock=CLOCK, create=True)
        passwords = Passwords()
        await create_account(store, "ops", PASSWORD, passwords=passwords, clock=CLOCK)
        passwords.close()
        with ThreadPoolExecutor(1) as executor:
            inbound = Inbound(store, site="s1", clock=CLOCK, executor=executor)
            await inbound.replace(Snapshot(position(1), INHERITED))
        await store.close()
    settings = SDSPSettings(site="s1", listen=Listen(port=0))
    async with running(settings, data, clock=CLOCK, source=random.Random(1)) as started:
        yield started


@asynccontextmanager
async def person(url: str, federation: Federation) -> AsyncIterator[PeerClient]:
    check = ServerCheck(
        TRUST_DOMAIN, (Expectation(Role.SDSP, "s1"),), revoked=lambda _serial: False
    )
    token: list[str] = []
    client = PeerClient(
        [url],
        tls=visitor_context(federation.roots, check=check),
        token=lambda: token[0] if token else None,
    )
    try:
        answer = await client.post("/api/v1/login", {"username": "ops", "password": PASSWORD})
        token.append(answer.json()["accessToken"])
        yield client
    finally:
        await client.close()


def agent(data: Path, server: str, **settings: Any) -> Agent:
    identity = load_identity(data)
    moved = Identity((server,), identity.trust_domain, identity.site, identity.node)
    return Agent(
        identity=moved,
        files=Files.of(data),
        settings=DSNSettings(data_plane="memory", **settings),
        clock=CLOCK,
        source=random.Random(2),
    )


async def join(data: Path, server: str, token: str, *, replace: bool = False) -> None:
    data.mkdir(mode=0o700, exist_ok=True)
    directory = CredentialsDirectory(Files.of(data).credentials)
    identity = await enroll([server], token, directory, overwrite=replace)
    save_identity(data, identity)


async def give_token(client: PeerClient, node: str, **params: str) -> str:
    answer = await client.request("POST", f"/api/v1/nodes/{node}/jointoken", body={}, params=params)
    return str(answer.json()["token"])


async def put(client: PeerClient, kind: str, plural: str, name: str, spec: Any) -> None:
    body = {
        "apiVersion": "hanse/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }
    await client.put(f"/api/v1/{plural}/{name}", body)


async def status_of(client: PeerClient, node: str) -> dict[str, Any]:
    status = (await client.get("/api/v1/status")).json()
    found: dict[str, Any] = next(each for each in status["nodes"] if each["name"] == node)
    return found


async def until(client: PeerClient, node: str, state: str) -> dict[str, Any]:
    """Ask until a node is in a state; pytest-timeout ends a wait for ever."""
    while True:
        found = await status_of(client, node)
        if found["state"] == state:
            return found


async def compiled(started: Site) -> None:
    """Wait until the newest compilation has rules."""
    while started.compiler.newest is None or not started.compiler.newest.plan.rules:
        await started.compiler.compiled.wait()
        started.compiler.compiled.clear()


@pytest.fixture
def federation() -> Federation:
    return Federation()


async def test_a_node_joins_is_admitted_and_realises_its_policy(
    tmp_path: Path, federation: Federation
) -> None:
    async with (
        site(tmp_path / "s1", federation) as started,
        person(started.server.url, federation) as client,
        Group() as group,
    ):
        await put(client, "Network", "networks", "A", {"subnets": ["10.0.0.0/24"]})
        await join(tmp_path / "n1", started.server.url, await give_token(client, "node-1"))
        assert (await status_of(client, "node-1"))["state"] == "pending"

        stop = asyncio.Event()
        group.start(agent(tmp_path / "n1", started.server.url).run(stop), name="agent")
        workload = {"addresses": ["10.0.0.5"], "node": "node-1"}
        await put(client, "Workload", "workloads", "w1", workload)
        await put(client, "Node", "nodes", "node-1", {})

        found = await until(client, "node-1", "realised")
        assert found["connected"]
        assert found["dataPlane"] == "memory"
        assert found["hash"] == found["readBack"] == found["wanted"]["hash"]
        status = (await client.get("/api/v1/status")).json()
        (policy,) = status["policies"]
        assert (policy["name"], policy["state"]) == ("p", "realised")
        assert policy["nodes"] == {"total": 1, "realised": 1, "pending": 0, "failed": 0}
        stop.set()


async def test_a_node_that_is_not_admitted_gets_no_configuration(
    tmp_path: Path, federation: Federation
) -> None:
    async with (
        site(tmp_path / "s1", federation) as started,
        person(started.server.url, federation) as client,
    ):
        data = tmp_path / "n1"
        await join(data, started.server.url, await give_token(client, "node-1"))
        credentials = CredentialsDirectory(Files.of(data).credentials).load()
        check = ServerCheck(
            TRUST_DOMAIN, (Expectation(Role.SDSP, "s1"),), revoked=lambda _serial: False
        )
        node = PeerClient([started.server.url], tls=client_context(credentials, check=check))
        with pytest.raises(Forbidden) as caught:
            async with node.stream("GET", "/node/v1/configuration"):
                pass
        await node.close()
        assert caught.value.code == "admission_pending"


async def test_a_join_token_works_once(tmp_path: Path, federation: Federation) -> None:
    async with (
        site(tmp_path / "s1", federation) as started,
        person(started.server.url, federation) as client,
    ):
        token = await give_token(client, "node-1")
        await join(tmp_path / "n1", started.server.url, token)

        with pytest.raises(Unauthenticated) as caught:
            await join(tmp_path / "n2", started.server.url, token)
        assert caught.value.code == "join_token_refused"

        with pytest.raises(Conflict) as exists:
            await give_token(client, "node-1")
        assert exists.value.code == "certificate_exists"
        audit = (await client.get("/api/v1/audit")).json()
        outcomes = [each["outcome"] for each in audit["items"] if each["action"] == "node.join"]
        assert outcomes == ["join_token_refused", "ok"]


async def test_replacing_a_node_revokes_its_certificate(
    tmp_path: Path, federation: Federation
) -> None:
    async with (
        site(tmp_path / "s1", federation) as started,
        person(started.server.url, federation) as client,
    ):
        url = started.server.url
        await join(tmp_path / "old", url, await give_token(client, "node-1"))
        token = await give_token(client, "node-1", replace="true")
        await join(tmp_path / "new", url, token)
        await put(client, "Node", "nodes", "node-1", {})

        check = ServerCheck(
            TRUST_DOMAIN, (Expectation(Role.SDSP, "s1"),), revoked=lambda _serial: False
        )
        codes = []
        for name in ("old", "new"):
            directory = CredentialsDirectory(Files.of(tmp_path / name).credentials)
            node = PeerClient([url], tls=client_context(directory.load(), check=check))
            report = {"incarnation": "", "generation": 0, "hash": None, "outcome": "ack"}
            try:
                await node.post("/node/v1/reports", report)
                codes.append("ok")
            except HanseError as exc:
                codes.append(exc.code)
            await node.close()
        assert codes == ["certificate_revoked", "ok"]


async def test_a_restarted_site_goes_on_where_it_was(
    tmp_path: Path, federation: Federation
) -> None:
    data = tmp_path / "s1"
    async with (
        site(data, federation) as started,
        person(started.server.url, federation) as client,
    ):
        await put(client, "Network", "networks", "A", {"subnets": ["10.0.0.0/24"]})
        await put(client, "Node", "nodes", "node-1", {})
        await put(
            client, "Workload", "workloads", "w", {"addresses": ["10.0.0.5"], "node": "node-1"}
        )
        await join(
            tmp_path / "n1", started.server.url, await give_token(client, "node-1", replace="1")
        )
        async with Group() as group:
            stop = asyncio.Event()
            group.start(agent(tmp_path / "n1", started.server.url).run(stop), name="agent")
            before = await until(client, "node-1", "realised")
            stop.set()

    async with (
        site(data, federation) as started,
        person(started.server.url, federation) as client,
        Group() as group,
    ):
        known = await status_of(client, "node-1")
        assert (known["connected"], known["hash"]) == (False, before["hash"])
        stop = asyncio.Event()
        group.start(agent(tmp_path / "n1", started.server.url).run(stop), name="agent")
        while not (await status_of(client, "node-1"))["connected"]:
            pass
        after = await until(client, "node-1", "realised")
        assert after["wanted"]["hash"] == before["wanted"]["hash"]
        assert after["wanted"]["generation"] >= before["wanted"]["generation"]
        stop.set()


async def test_a_site_refuses_what_its_people_may_not_write(
    tmp_path: Path, federation: Federation
) -> None:
    async with (
        site(tmp_path / "s1", federation) as started,
        person(started.server.url, federation) as client,
    ):
        local = {"rules": [{"name": "r", "from": "any", "to": "any", "action": "allow"}]}
        with pytest.raises(HanseError) as exists:
            await put(client, "SecurityPolicy", "securitypolicies", "p", local)
        assert exists.value.code == "mandatory_policy_exists"

        unknown = {
            "rules": [{"name": "r", "from": "any", "to": [{"network": "Nope"}], "action": "deny"}]
        }
        with pytest.raises(HanseError) as named:
            await put(client, "SecurityPolicy", "securitypolicies", "q", unknown)
        assert named.value.code == "unknown_network"
        assert named.value.fields[0].path == "spec.rules[0].to[0].network"

        await put(client, "Network", "networks", "A", {"subnets": ["10.0.0.0/24"]})
        with pytest.raises(HanseError) as unresolved:
            await client.request("DELETE", "/api/v1/networks/A")
        assert unresolved.value.code == "would_unresolve"
        await client.request("DELETE", "/api/v1/networks/A", params={"force": "true"})


async def test_a_site_tells_how_it_came_to_a_verdict(
    tmp_path: Path, federation: Federation
) -> None:
    async with (
        site(tmp_path / "s1", federation) as started,
        person(started.server.url, federation) as client,
    ):
        await put(client, "Network", "networks", "A", {"subnets": ["10.0.0.0/24"]})
        await compiled(started)
        flow = {"from": "192.0.2.1", "to": "10.0.0.9", "protocol": "tcp", "port": 443}
        told = (await client.post("/api/v1/trace", flow)).json()
        assert (told["outcome"], told["view"]["policy"]) == ("allow", "p")
        with pytest.raises(HanseError) as caught:
            await client.post("/api/v1/trace", {**flow, "to": "2001:db8::1"})
        assert caught.value.code == "family_mismatch"


@asynccontextmanager
async def as_node(data: Path, url: str, federation: Federation) -> AsyncIterator[PeerClient]:
    credentials = CredentialsDirectory(Files.of(data).credentials).load()
    check = ServerCheck(
        TRUST_DOMAIN, (Expectation(Role.SDSP, "s1"),), revoked=lambda _serial: False
    )
    node = PeerClient([url], tls=client_context(credentials, check=check))
    try:
        yield node
    finally:
        await node.close()


async def report_for_ever(node: PeerClient) -> NoReturn:
    report = {"incarnation": "", "generation": 0, "hash": None, "outcome": "ack"}
    while True:
        await node.post("/node/v1/reports", report)


async def test_deleting_a_node_ends_its_stream_and_its_certificate(
    tmp_path: Path, federation: Federation
) -> None:
    async with (
        site(tmp_path / "s1", federation) as started,
        person(started.server.url, federation) as client,
    ):
        url = started.server.url
        # Declared by a person first: whoever joins by its name is admitted at once.
        await put(client, "Node", "nodes", "node-1", {})
        await join(tmp_path / "n1", url, await give_token(client, "node-1"))
        async with as_node(tmp_path / "n1", url, federation) as node:
            async with node.stream("GET", "/node/v1/configuration") as lines:
                assert "protocol" in await anext(lines)
                await client.request("DELETE", "/api/v1/nodes/node-1")
                last = [line async for line in lines][-1]
            assert last.get("end") == "admission_pending" or (
                last.get("code") == "certificate_revoked"
            )

            # Declared again, it is another node: the old certificate is good for nothing.
            await put(client, "Node", "nodes", "node-1", {})
            with pytest.raises(Unauthenticated) as caught:
                await report_for_ever(node)
            assert caught.value.code == "certificate_revoked"
        await join(tmp_path / "n2", url, await give_token(client, "node-1"))


async def test_putting_a_node_out_ends_its_stream(tmp_path: Path, federation: Federation) -> None:
    async with (
        site(tmp_path / "s1", federation) as started,
        person(started.server.url, federation) as client,
    ):
        url = started.server.url
        await put(client, "Node", "nodes", "node-1", {})
        await join(tmp_path / "n1", url, await give_token(client, "node-1"))
        async with as_node(tmp_path / "n1", url, federation) as node:
            async with node.stream("GET", "/node/v1/configuration") as lines:
                assert "protocol" in await anext(lines)
                await put(client, "Node", "nodes", "node-1", {"admission": "refused"})
                assert [line async for line in lines][-1] == {"end": "admission_pending"}
            assert (await status_of(client, "node-1"))["state"] == "refused"


async def test_a_second_process_does_not_start_beside_the_first(
    tmp_path: Path, federation: Federation
) -> None:
    async with site(tmp_path / "s1", federation):
        with pytest.raises(Conflict) as caught:
            async with site(tmp_path / "s1", federation):
                pass
        assert caught.value.code == "already_running"


async def test_an_exception_written_by_a_person_has_its_base_from_the_server(
    tmp_path: Path, federation: Federation
) -> None:
    async with (
        site(tmp_path / "s1", federation) as started,
        person(started.server.url, federation) as client,
    ):
        rules = [{"name": "in", "from": "any", "to": "any", "action": "deny"}]
        spec = {
            "target": {"kind": "SecurityPolicy", "name": "p"},
            "reason": "why not",
            "spec": {"rules": rules},
            "basedOn": {"revision": 99, "spec": {}},
        }
        await put(client, "Override", "overrides", "o", spec)
        found = (await client.get("/api/v1/overrides/o")).json()
        inherited = (
            await client.get("/api/v1/securitypolicies/p", params={"scope": "federation"})
        ).json()
        assert found["spec"]["basedOn"] == {
            "revision": inherited["metadata"]["revision"],
            "spec": inherited["spec"],
        }
        before = found["metadata"]["revision"]
        await put(client, "Override", "overrides", "o", spec)
        again = (await client.get("/api/v1/overrides/o")).json()
        assert again["metadata"]["revision"] == before


async def test_what_could_not_be_taken_over_is_shown_and_an_unknown_node_is_not_found(
    tmp_path: Path, federation: Federation
) -> None:
    async with (
        site(tmp_path / "s1", federation) as started,
        person(started.server.url, federation) as client,
    ):
        with ThreadPoolExecutor(1) as executor:
            inbound = Inbound(started.store, site="s1", clock=CLOCK, executor=executor)
            strange = document(key("Network", "strange"), {"mtu": 9000}, 7)
            await inbound.apply(Changes(1, position(2), (Put(strange),)))
        status = (await client.get("/api/v1/status")).json()
        assert [(each["name"], each["code"]) for each in status["refused"]] == [
            ("strange", "unsupported_field")
        ]
        await put(client, "Network", "networks", "A", {"subnets": ["10.0.0.0/24"]})
        await compiled(started)
        flow = {"from": "192.0.2.1", "to": "10.0.0.9", "protocol": "tcp", "port": 443}
        with pytest.raises(NotFound) as caught:
            await client.post("/api/v1/trace", {**flow, "node": "nope"})
        assert caught.value.code == "unknown_node"
