"""A federation in which a rival tenant has something of everything, and who must not see it.

All that is the rival's bears a mark that nothing else does: names, labels, annotations, rules,
addresses.  Whatever an answer holds, a mark in it that the question didn't hold is a leak.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from shared.clock import Clock
from shared.login.logins import Logins
from shared.model.kinds import KINDS, Home
from shared.pki.tls import visitor_context
from tests.fakes.tokens import token_for
from tests.integration.fsm.harness import FSM, Person
from tests.integration.road.world import NAMES, RoadSite, document, joined

RIVAL = "zqtenant"
SECRET = "zqsecret"
ABSENT = "zqabsent"
MARKS = (b"zqsecret", b"zqlabel", b"zqvalue", b"zqtext", b"zqrule", b"203.0.113", b"2001:db8:99")
LABELS = {"zqlabel": "zqvalue"}
ALL_LABELS = {"tier": "any", **LABELS}
_RULE = {"name": "zqrule", "action": "allow", "to": "any"}

SPECS: Mapping[str, Mapping[str, Any]] = {
    "Network": {"subnets": ["203.0.113.0/26", "2001:db8:99::/64"]},
    "Service": {"entries": [{"protocol": "tcp", "ports": ["4711"]}], "sealed": False},
    "SecurityPolicy": {
        "rules": [
            {
                **_RULE,
                "from": [{"network": SECRET}, {"network": "shared"}],
                "services": [{"service": SECRET}],
            }
        ]
    },
    "LoadBalancer": {
        "network": SECRET,
        "ports": [{"service": SECRET}],
        "backends": {"workloads": {"matchLabels": LABELS}},
    },
    "ServicePolicy": {"services": {"firewall": "optional"}},
    "Silence": {
        "selector": {"matchLabels": LABELS},
        "endsAt": "2099-01-01T00:00:00Z",
        "reason": "zqtext",
    },
    "ServiceAccount": {"description": "zqtext"},
    "PolicyTest": {
        "site": "sfo",
        "flows": [
            {
                "from": {"network": SECRET},
                "to": {"address": "203.0.113.9"},
                "service": "tcp/22",
                "expect": "deny",
            }
        ],
    },
    "SavedQuery": {"signal": "events", "query": "zqtext"},
    "Report": {"queries": [SECRET], "schedule": "0 4 * * *"},
    "Workload": {"addresses": ["203.0.113.80"], "node": "node-1"},
    "Override": {
        "target": {"kind": "SecurityPolicy", "tenant": RIVAL, "name": SECRET},
        "reason": "zqtext",
        "spec": {"rules": [{**_RULE, "from": [{"cidr": "203.0.113.9/32"}]}]},
    },
}
"""What the rival has of each kind that a tenant's people may write."""
NOT_WRITTEN = {"AuthenticationPolicy", "BackupPolicy", "AlertPolicy", "Credential"}
"""Kinds that may belong to a tenant, of which his people write none in this world."""


@dataclass(frozen=True)
class Asked:
    """One request, as text to look for marks in, and what came of it."""

    method: str
    url: str
    body: Any
    status: int
    headers: Mapping[str, str]
    answer: bytes

    @property
    def question(self) -> bytes:
        return f"{self.method} {self.url} {json.dumps(self.body)}".encode()

    @property
    def leaks(self) -> list[bytes]:
        """Return the marks in the answer that were not in the question."""
        told = self.answer + repr(sorted(self.headers.items())).encode()
        return [mark for mark in MARKS if mark in told and mark not in self.question]


@dataclass
class Server:
    """One of the two servers, and a connection to it."""

    home: Home
    url: str
    logins: Logins
    clock: Clock
    session: aiohttp.ClientSession

    @property
    def scope(self) -> str:
        return "federation" if self.home == "fsm" else "site"

    def token(self, *roles: str, tenants: Sequence[str] | None = None) -> str:
        return token_for(self.logins, self.clock, *roles, tenants=tenants, subject="user:somebody")

    async def ask(
        self, token: str | None, method: str, url: str, body: Any = None, **headers: str
    ) -> Asked:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            patch = "merge-patch+" if method == "PATCH" else ""
            headers["Content-Type"] = f"application/{patch}json"
        async with self.session.request(
            method, self.url + url, data=data, headers=headers
        ) as response:
            answer = await response.read()
            return Asked(method, url, body, response.status, dict(response.headers), answer)

    async def lines(self, token: str, url: str) -> AsyncIterator[bytes]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.session.get(self.url + url, headers=headers) as response:
            assert response.status == 200, await response.text()
            async for line in response.content:
                yield line

    async def put(self, token: str, kind: str, name: str, spec: Any, **metadata: Any) -> None:
        place = {key: str(metadata[key]) for key in ("tenant", "scope") if key in metadata}
        query = "&".join(f"{key}={value}" for key, value in place.items())
        asked = await self.ask(
            token,
            "PUT",
            f"/api/v1/{KINDS[kind].plural}/{name}?{query}",
            document(kind, name, spec, **metadata),
        )
        assert asked.status in (200, 201), asked.answer


@dataclass
class World:
    fsm: Server
    sdsp: Server
    admin: Person
    site: RoadSite

    def server(self, home: str) -> Server:
        return self.fsm if home == "fsm" else self.sdsp


def rivals(home: Home) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what the rival has on one server: those that others name first."""
    for kind, spec in SPECS.items():
        if home in KINDS[kind].lives_on:
            if home == "sdsp" and kind == "Network":
                spec = {"subnets": ["203.0.113.64/26"]}  # noqa: PLW2901 - nearer than the FSM's
            if home == "sdsp" and kind == "LoadBalancer":
                spec = {**spec, "addresses": ["203.0.113.70"]}  # noqa: PLW2901 - only here
            yield kind, spec


@asynccontextmanager
async def world(fsm: FSM, folder: Path) -> AsyncIterator[World]:
    """Run a serving FSM's federation: the site sfo, the tenants acme and rival, and all of theirs."""
    admin = fsm.admin()
    await admin.put("sites", "sfo", {"serverNames": NAMES}, labels={"env": "prod"})
    for tenant in ("acme", RIVAL):
        await admin.put("tenants", tenant, {})
    connector = aiohttp.TCPConnector(ssl=visitor_context(fsm.roots))
    async with aiohttp.ClientSession(connector=connector) as session:
        above = Server("fsm", fsm.url, fsm.running.logins, fsm.clock, session)
        token = token_above = above.token("admin")
        await _shared(above, token)
        for kind, spec in rivals("fsm"):
            if kind == "SecurityPolicy":
                spec = {**spec, "enforcement": "mandatory"}  # noqa: PLW2901
            await _rival(above, token, kind, spec)
        await above.put(token, "Network", "ours", {"subnets": ["10.1.0.0/24"]}, tenant="acme")
        async with joined(folder, fsm) as site, site.serving():
            await site.heard(fsm)
            below = Server("sdsp", site.url, site.running.logins, fsm.clock, session)
            token = below.token("admin")
            await below.put(token, "Node", "node-1", {})
            await below.put(token, "Node", "node-2", {})
            for kind, spec in rivals("sdsp"):
                name = "zqsecret-local" if kind == "SecurityPolicy" else SECRET
                await _rival(below, token, kind, spec, name)
            await below.put(token, "Network", "near", {"subnets": ["10.3.0.0/24"]})
            near = {"rules": [{**_RULE, "from": [{"network": "near"}]}]}
            await below.put(token, "SecurityPolicy", "zqsecret-near", near, tenant=RIVAL)
            await below.put(
                token,
                "Workload",
                "web",
                {"addresses": ["10.1.0.5"], "node": "node-1"},
                tenant="acme",
            )
            everything = {
                "rules": [
                    {
                        "name": "all",
                        "from": [{"networks": {}}, {"workloads": {}}],
                        "to": [{"networks": {}}],
                        "action": "allow",
                    }
                ]
            }
            await below.put(token, "SecurityPolicy", "everything", everything)
            await site.until(
                lambda status: (
                    {"everything", "zqsecret-near"} <= {each["name"] for each in status["policies"]}
                )
            )
            await _rolled_out(above, token_above, SPECS["SecurityPolicy"])
            yield World(above, below, admin, site)


async def _rolled_out(server: Server, token: str, spec: Mapping[str, Any]) -> None:
    """Let the rival have a rollout that goes on."""
    metadata = {"tenant": RIVAL, "labels": ALL_LABELS, "annotations": {"zqnote": "zqtext"}}
    rolled = document(
        "SecurityPolicy", SECRET, {**spec, "enforcement": "mandatory", "priority": 400}, **metadata
    )
    body = {"object": rolled, "order": [{"matchLabels": {"env": "none"}}], "name": SECRET}
    asked = await server.ask(token, "POST", "/api/v1/rollouts/start", body)
    assert asked.status == 201, asked.answer
    url = f"/api/v1/rollouts/{SECRET}/pause?tenant={RIVAL}"
    asked = await server.ask(token, "POST", url, {"reason": "zqtext"})
    assert asked.status == 200, asked.answer


async def _shared(server: Server, token: str) -> None:
    """Declare what the rival's objects rest on, in tenant common."""
    await server.put(token, "Network", "shared", {"subnets": ["10.2.0.0/24"]})


async def _rival(
    server: Server, token: str, kind: str, spec: Mapping[str, Any], name: str = SECRET
) -> None:
    metadata = {"tenant": RIVAL, "labels": ALL_LABELS, "annotations": {"zqnote": "zqtext"}}
    await server.put(token, kind, name, spec, **metadata)
