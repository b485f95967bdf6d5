"""A site for a node's agent: real TLS, real certificates, and configurations as a test wants them.

Its stream is the SDSP's own; what is behind it, planner and store, is not, so that a test can also
send what no planner would.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from sdsp.nodes.feed import configuration_lines
from shared.clock import SystemClock
from shared.pki.certificates import certificates_to_pem
from shared.pki.identity import Expectation, Role, SpiffeId
from shared.pki.jointoken import JoinKind, JoinToken
from shared.pki.peer import peer_identity
from shared.pki.tls import server_context
from shared.policy.nodeconfig import NodeConfiguration
from tests.fakes.federation import TRUST_DOMAIN, Federation
from tests.fakes.publishing import Publisher

SITE, NODE = "sfo", "node-1"


class Site:
    """The SDSP of site sfo, as its nodes see it."""

    def __init__(self, *, incarnation: str = "first", like: "Site | None" = None) -> None:
        """`like` is the same site in an earlier life: certificates stay, the store doesn't."""
        self.federation = like.federation if like else Federation()
        self.authority = like.authority if like else self.federation.site(SITE)
        self.credentials = self.federation.sdsp(self.authority)
        self._publisher = Publisher(incarnation=incarnation)
        self.publications = self._publisher.publications
        self.reports: list[dict[str, Any]] = []
        self.port = 0
        self._told = asyncio.Event()
        self.generation = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def token(self, node: str = NODE) -> str:
        root = self.federation.root.certificate
        return str(JoinToken.create(JoinKind.NODE, site=SITE, name=node, root=root))

    def publish(self, configuration: NodeConfiguration) -> str:
        """Publish the next generation; return its hash."""
        self.generation += 1
        self._publisher.publish(self.generation, configuration)
        return configuration.hash()

    async def reported(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first report that is wanted; pytest-timeout ends a wait for ever."""
        seen = 0
        while True:
            for report in self.reports[seen:]:
                seen += 1
                if wanted(report):
                    return report
            self._told.clear()
            await self._told.wait()

    async def acknowledged(self, content: str) -> dict[str, Any]:
        """Return the report that says that this hash is enforced and read back."""
        return await self.reported(
            lambda report: (
                (report["outcome"], report["hash"], report["readBack"]) == ("ack", content, content)
            )
        )

    async def serve(self, listener: socket.socket) -> None:
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        tls = server_context(self.credentials)
        await web.SockSite(self._runner, listener, ssl_context=tls).start()

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner:
            await runner.cleanup()

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/pki/root", self._root),
                web.post("/node/v1/join", self._join),
                web.post("/node/v1/renew", self._renew),
                web.get("/node/v1/configuration", self._configuration),
                web.post("/node/v1/reports", self._report),
            ]
        )
        return app

    async def _root(self, request: web.Request) -> web.Response:
        return web.Response(text=certificates_to_pem(self.federation.roots))

    async def _join(self, request: web.Request) -> web.Response:
        body = await request.json()
        token = JoinToken.parse(body["token"])
        return self._issue(token.name, body["csr"])

    async def _renew(self, request: web.Request) -> web.Response:
        return self._issue(self._node(request), (await request.json())["csr"])

    def _issue(self, node: str, csr: str) -> web.Response:
        chain = self.authority.issue_leaf(csr, SpiffeId.of_node(TRUST_DOMAIN, SITE, node))
        return web.json_response(
            {
                "node": node,
                "site": SITE,
                "trustDomain": TRUST_DOMAIN,
                "chain": certificates_to_pem(chain),
                "roots": certificates_to_pem(self.federation.roots),
                "admission": "admitted",
            }
        )

    async def _configuration(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        lines = configuration_lines(
            self.publications,
            self._node(request),
            have=request.query.get("hash"),
            clock=SystemClock(),
        )
        async for line in lines:
            await response.write(line)
        return response

    async def _report(self, request: web.Request) -> web.Response:
        assert self._node(request) == NODE
        self.reports.append(await request.json())
        self._told.set()
        return web.json_response({})

    def _node(self, request: web.Request) -> str:
        assert request.transport is not None
        peer = peer_identity(
            request.transport.get_extra_info("ssl_object"),
            trust_domain=TRUST_DOMAIN,
            revoked=lambda _serial: False,
            expected=(Expectation(Role.NODE, SITE),),
        )
        assert peer.id.node is not None
        return peer.id.node


@asynccontextmanager
async def serving(site: Site, listener: socket.socket) -> AsyncIterator[Site]:
    """Serve on a socket that may belong to another namespace."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", site.port))
    site.port = listener.getsockname()[1]
    try:
        await site.serve(listener)
        yield site
    finally:
        await site.stop()


class Process:
    """`hanse dsn …` as a person runs it, in a network namespace if one is given."""

    def __init__(self, *arguments: str, namespace: str | None = None, **settings: str) -> None:
        inside = ["ip", "netns", "exec", namespace] if namespace else []
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-m", "dsn", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ
            | {f"HANSE_DSN_{name.upper()}": value for name, value in settings.items()},
        )

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def wait(self) -> tuple[int, str]:
        """Return its exit status and what it wrote to both outputs."""
        output, errors = await asyncio.to_thread(self._process.communicate)
        return self._process.returncode, (output + errors).decode()

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@contextmanager
def agent(
    data: Path, *, namespace: str | None = None, plane: str, **settings: str
) -> Iterator[Process]:
    """Run an agent while the block runs; it is killed at its end, if it still lives."""
    process = Process(
        *("run", "--data", str(data), "--data-plane", plane), namespace=namespace, **settings
    )
    try:
        yield process
    finally:
        process.end()


async def command(*arguments: str, namespace: str | None = None) -> tuple[int, str]:
    return await Process(*arguments, namespace=namespace).wait()
