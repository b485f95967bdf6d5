"""The whole federation of a run: joined, its programs and the people who are logged in at each."""

import asyncio
import random
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.cli.connection import Connection
from shared.cli.trust import person_context, read_roots
from shared.clock import SystemClock
from shared.http.peer import PeerClient, PeerLimits
from tests.chaos.network import ALLOWED_PORT, FSM, Network, NodePlace, SitePlace
from tests.chaos.programs import Program, call

PORT = 8443
USER = "admin"
TRUST_DOMAIN = "chaos.hanse.example"

# A server that is killed leaves nothing to wait for; one that is cut off must be noticed.
_LIMITS = PeerLimits(connect=2.0, total=8.0)


@dataclass
class Server:
    """An FSM or SDSP: its program, its database, and a client that is logged in."""

    name: str
    program: Program
    database: Path
    peer: PeerClient
    token: str = ""
    password: str = field(default="", repr=False)

    @property
    def connection(self) -> Connection:
        """Calls it, and logs in again when the token has expired."""
        return Connection(
            self.peer, clock=SystemClock(), source=random.Random(1), renew=self._log_in_again
        )

    async def login(self, password: str) -> None:
        self.password = password
        plain = Connection(self.peer, clock=SystemClock(), source=random.Random(1))
        body = {"username": USER, "password": password}
        answer = (await plain.call("POST", "/api/v1/login", body=body)).json()
        self.token = str(answer["accessToken"])

    async def _log_in_again(self) -> bool:
        if not self.password:
            return False
        await self.login(self.password)
        return True

    async def get(self, path: str, **params: str) -> Any:
        return (await self.connection.call("GET", path, params=params)).json()


@dataclass
class Federation:
    """All of it; `close()` ends every program that it has started."""

    network: Network
    folder: Path
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    servers: dict[str, Server] = field(default_factory=dict)
    agents: dict[str, Program] = field(default_factory=dict)

    @property
    def sites(self) -> Sequence[SitePlace]:
        return self.network.sites

    @property
    def nodes(self) -> list[NodePlace]:
        return [node for site in self.sites for node in site.nodes]

    @property
    def fsm(self) -> Server:
        return self.servers[FSM]

    def programs(self) -> Iterator[Program]:
        for server in self.servers.values():
            yield server.program
        yield from self.agents.values()

    def program(self, name: str) -> Program:
        return next(each for each in self.programs() if each.name == name)

    async def close(self) -> None:
        for program in self.programs():
            await program.end()
        for server in self.servers.values():
            await server.peer.close()

    async def begin(self) -> None:
        """Set up everything, and return when every node enforces."""
        await self._begin_fsm()
        await asyncio.gather(*map(self._begin_site, self.sites))
        await asyncio.gather(*map(self._begin_node, self.nodes))

    async def _begin_fsm(self) -> None:
        inside, data = self.network.inside(FSM), self.folder / FSM
        listen = f"{self.network.fsm}:{PORT}"
        await call(
            *("fsm", "init", "--data", str(data), "--trust-domain", TRUST_DOMAIN),
            *("--listen", listen, "--name", self.network.fsm),
            inside=inside,
            environ={"HANSE_ADMIN_PASSWORD": self.password},
        )
        await self._serve(FSM, FSM, data, data / "fsm.sqlite", self.network.fsm)
        await self.put_all(self.fsm, _federation(self.sites))

    async def _begin_site(self, site: SitePlace) -> None:
        inside, data = self.network.inside(site.host), self.folder / site.name
        await call(
            *("sdsp", "init", "--data", str(data), "--listen", f"{site.address}:{PORT}"),
            inside=inside,
            environ={"HANSE_ADMIN_PASSWORD": self.password},
        )
        token = await self.join_token(self.fsm, "sites", site.name)
        await call(
            *("sdsp", "join", "--data", str(data), "--token", "-"),
            *("--server", f"https://{self.network.fsm}:{PORT}"),
            inside=inside,
            stdin=f"{token}\n",
        )
        await self._serve(site.name, site.host, data, data / "sdsp.sqlite", site.address)
        server = self.servers[site.name]
        # Nothing tells when another process has compiled for the first time.
        while (await server.get("/api/v1/status"))["revision"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await self.put_all(server, _site(site))

    async def _begin_node(self, node: NodePlace) -> None:
        site = next(each for each in self.sites if each.name == node.site)
        inside, data = self.network.inside(node.host), self.folder / node.host
        token = await self.join_token(self.servers[node.site], "nodes", node.name)
        await call(
            *("dsn", "join", "--data", str(data), "--token", "-"),
            *("--server", f"https://{site.address}:{PORT}"),
            inside=inside,
            stdin=f"{token}\n",
        )
        arguments = ("dsn", "run", "--data", str(data), "--data-plane", "nftables")
        program = Program(node.host, arguments, inside=inside, folder=self.folder)
        self.agents[node.host] = program
        await program.start()
        await program.until_ready()

    async def _serve(self, name: str, host: str, data: Path, database: Path, address: str) -> None:
        arguments = (FSM if name == FSM else "sdsp", "serve", "--data", str(data))
        inside = self.network.inside(host)
        program = Program(name, arguments, inside=inside, folder=self.folder)
        roots = read_roots(self.folder / FSM / "root.pem")
        peer = PeerClient(
            [f"https://{address}:{PORT}"],
            tls=person_context(roots),
            token=lambda: self.servers[name].token or None,
            limits=_LIMITS,
        )
        self.servers[name] = server = Server(name, program, database, peer)
        await program.start()
        await program.until_ready()
        await server.login(self.password)

    async def put_all(self, server: Server, documents: Sequence[dict[str, Any]]) -> None:
        operations = [{"operation": "put", "object": each} for each in documents]
        await server.connection.call(
            "POST", "/api/v1/transactions", body={"operations": operations}
        )

    async def join_token(self, server: Server, plural: str, name: str) -> str:
        path = f"/api/v1/{plural}/{name}/jointoken"
        return str((await server.connection.call("POST", path, body={})).json()["token"])


def document(kind: str, name: str, spec: dict[str, Any], **labels: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": labels} if labels else {"name": name}
    return {"apiVersion": "hanse/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _federation(sites: Sequence[SitePlace]) -> list[dict[str, Any]]:
    """What everybody gets: the sites, network A, and who may send to its probed port."""
    rule = {
        "name": "probe",
        "from": "any",
        "to": [{"network": "A"}],
        "services": [{"protocol": "udp", "ports": [str(ALLOWED_PORT)]}],
        "action": "allow",
    }
    return [
        *(
            document("Site", site.name, {"serverNames": [site.address]}, env="prod")
            for site in sites
        ),
        document("Network", "A", {}),
        document("SecurityPolicy", "probe", {"enforcement": "mandatory", "rules": [rule]}),
    ]


def _site(site: SitePlace) -> list[dict[str, Any]]:
    """What a site says of itself: its network, its nodes, and the workload behind each."""
    documents = [document("Network", "A", {"subnets": [site.subnet]})]
    for node in site.nodes:
        documents.append(document("Node", node.name, {}))
        spec = {"addresses": [node.workload], "node": node.name}
        documents.append(document("Workload", f"real-{node.name}", spec))
    return documents
