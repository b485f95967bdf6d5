"""A whole federation on one machine: programs, hosts, and clients that are logged in."""

import random
import secrets
import socket
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shared.cli.answers import Put
from shared.cli.client import Client
from shared.cli.demo.namespaces import Namespaces
from shared.cli.demo.processes import Programs
from shared.cli.demo.relay import HOST, Relay
from shared.errors import FieldError, Invalid
from shared.model.documents import parse_documents, to_plain
from shared.model.inventory import Workload
from shared.tasks.group import Group

TRUST_DOMAIN: Final = "demo.hanse.example"
USER: Final = "admin"
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_AGENT_PORT: Final = 8444


@dataclass(frozen=True, slots=True)
class Host:
    """A workload of a site, or an outsider (no node), and where its namespace is, if any."""

    site: str
    name: str
    addresses: tuple[str, ...]
    node: str | None
    namespace: str | None = None

    def address(self, family: int = 4) -> str:
        """Return the first address of a family."""
        return next(each for each in self.addresses if (":" in each) == (family == 6))


@dataclass(slots=True)
class SiteWorld:
    """One site: its documents, its hosts, its server, and the wire to the FSM."""

    name: str
    documents: list[dict[str, Any]]
    hosts: dict[str, Host]
    port: int
    wire: Relay
    folder: Path
    client: Client | None = None
    nodes: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    @property
    def api(self) -> Client:
        assert self.client is not None, "logged in once the site serves"
        return self.client


class World:
    """Everything that the story needs; `close()` leaves nothing behind."""

    def __init__(self, *, folder: Path, example: Path, kernel: bool) -> None:
        self.folder = folder
        self.example = example
        self.kernel = kernel
        self.password = secrets.token_urlsafe(12)
        self.programs = Programs(folder)
        self.namespaces = Namespaces(f"hanse-{random.SystemRandom().randrange(16**4):04x}")
        self.federation = read_documents(example / "federation")
        self.port = free_port()
        self.sites: dict[str, SiteWorld] = {}
        self._stack = AsyncExitStack()
        self._fsm: Client | None = None

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    @property
    def root(self) -> Path:
        return self.folder / "fsm" / "root.pem"

    @property
    def api(self) -> Client:
        assert self._fsm is not None, "logged in once the FSM serves"
        return self._fsm

    @property
    def _secret(self) -> Mapping[str, str]:
        return {"HANSE_ADMIN_PASSWORD": self.password}

    async def close(self) -> None:
        """End every program, close every wire, remove every namespace."""
        await self._stack.aclose()
        await self.programs.end()
        for site in self.sites.values():
            await site.wire.close()
        await self.namespaces.remove()

    async def start_fsm(self) -> None:
        """Prepare and start the FSM, and log in."""
        data = str(self.folder / "fsm")
        listen = f"{HOST}:{self.port}"
        await self.programs.call(
            "fsm", "init", "--data", data, "--trust-domain", TRUST_DOMAIN, "--listen", listen,
            given=self._secret,
        )  # fmt: skip
        await self.programs.start("fsm", "fsm", "serve", "--data", data, until="serving at")
        self._fsm = await self._login(self.url)

    async def apply_federation(self) -> int:
        """Apply the example's federation; return how many objects that are."""
        for document in self.federation:
            if document["kind"] == "Site":
                # The certificates of the demo's servers must fit where they are reached.
                document["spec"]["serverNames"] = list(LOOPBACK)
        await self.api.transaction([Put(each) for each in self.federation])
        return len(self.federation)

    async def prepare_site(self, name: str, outsiders: Mapping[str, Sequence[str]]) -> SiteWorld:
        """Make a site's folder and network; `outsiders` are hosts that no node enforces for."""
        wire = Relay(self.port)
        await wire.start()
        documents = read_documents(self.example / "sites" / name)
        site = SiteWorld(name, documents, {}, free_port(), wire, self.folder / name)
        self.sites[name] = site
        site.hosts = {host.name: host for host in self._hosts(site, outsiders)}
        site.nodes = [each["metadata"]["name"] for each in documents if each["kind"] == "Node"]
        listen = f"{HOST}:{site.port}"
        await together(
            self.programs.call(
                "sdsp", "init", "--data", str(site.folder), "--listen", listen, given=self._secret
            ),
            *([self._build_network(site)] if self.kernel else []),
        )
        return site

    async def start_site(self, site: SiteWorld) -> None:
        """Let a prepared site join and serve."""
        token = await self.api.join_token("Site", site.name)
        data = str(site.folder)
        server = f"https://{HOST}:{site.wire.port}"
        await self.programs.call(
            "sdsp", "join", "--data", data, "--server", server, "--token", "-",
            stdin=f"{token.text}\n",
        )  # fmt: skip
        await self.programs.start(
            f"sdsp-{site.name}", "sdsp", "serve", "--data", data, until="serving at"
        )
        site.client = await self._login(site.url)

    async def start_nodes(self, site: SiteWorld) -> None:
        """Let the site's nodes join and run, each in its own namespace if there are any."""
        await together(*(self._start_node(site, each) for each in site.nodes))

    async def _start_node(self, site: SiteWorld, node: str) -> None:
        token = await site.api.join_token("Node", node)
        data = str(self.folder / f"{site.name}-{node}")
        namespace = self.namespaces.name(f"{site.name}-{node}") if self.kernel else None
        port = site.port
        if namespace:
            # A namespace reaches nothing outside: the demo carries its one connection.
            door = Relay(site.port, namespace=namespace, port=_AGENT_PORT)
            await door.start()
            self._stack.push_async_callback(door.close)
            port = _AGENT_PORT
        await self.programs.call(
            "dsn", "join", "--data", data, "--server", f"https://{HOST}:{port}", "--token", "-",
            stdin=f"{token.text}\n", namespace=namespace,
        )  # fmt: skip
        plane = ("nftables",) if self.kernel else ("memory", "--simulation-port", "0")
        await self.programs.start(
            f"dsn-{site.name}-{node}", "dsn", "run", "--data", data, "--data-plane", *plane,
            namespace=namespace,
        )  # fmt: skip

    async def _login(self, url: str) -> Client:
        client = await self._stack.enter_async_context(Client(url, ca=self.root))
        await client.login(USER, self.password)
        return client

    def _hosts(self, site: SiteWorld, outsiders: Mapping[str, Sequence[str]]) -> list[Host]:
        hosts = []
        for document in site.documents:
            if document["kind"] == "Workload":
                spec = Workload.model_validate(document["spec"])
                addresses = tuple(str(each) for each in spec.addresses)
                hosts.append(self._host(site, document["metadata"]["name"], addresses, spec.node))
        for name, given in outsiders.items():
            hosts.append(self._host(site, name, tuple(given), None))
        return hosts

    def _host(
        self, site: SiteWorld, name: str, addresses: tuple[str, ...], node: str | None
    ) -> Host:
        namespace = self.namespaces.name(f"{site.name}-{name}") if self.kernel else None
        return Host(site.name, name, addresses, node, namespace)

    async def _build_network(self, site: SiteWorld) -> None:
        """Make the site's hosts: workloads behind their nodes, nodes and outsiders at a router."""
        fabric = f"{site.name}-fabric"
        await self.namespaces.add(fabric, forwards=True)
        for node in site.nodes:
            await self.namespaces.add(f"{site.name}-{node}", forwards=True)
            behind = [each for host in site.hosts.values() if host.node == node
                      for each in host.addresses]  # fmt: skip
            await self.namespaces.attach(f"{site.name}-{node}", fabric, behind, own=False)
        for host in site.hosts.values():
            await self.namespaces.add(f"{site.name}-{host.name}")
            router = f"{site.name}-{host.node}" if host.node else fabric
            await self.namespaces.attach(
                f"{site.name}-{host.name}", router, host.addresses, own=True
            )


async def together(*works: Coroutine[Any, Any, object]) -> None:
    """Do several things at once; the first that fails ends the others and is raised."""
    async with Group() as group:
        for number, work in enumerate(works):
            group.start(work, name=f"demo {number}")
        await group.wait()


def read_documents(folder: Path) -> list[dict[str, Any]]:
    """Return the documents of a folder; Invalid with every fault."""
    documents: list[dict[str, Any]] = []
    faults: list[FieldError] = []
    for file in sorted(folder.rglob("*.yaml")):
        reading = parse_documents(file.read_bytes(), file=str(file))
        faults += reading.faults
        documents += [to_plain(each.envelope) for each in reading.documents]
    if faults:
        raise Invalid(f"{folder} has faults", fields=faults)
    return documents


def free_port() -> int:
    """Return a loopback port that nobody listens at just now."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])
