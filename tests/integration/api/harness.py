"""A real server on loopback over a real SQLite store, and clients for callers of any kind."""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from shared.clock import Clock, SystemClock
from shared.http.connections import ConnectionLimits
from shared.http.peer import Answer, PeerClient, PeerLimits
from shared.http.rates import RateSettings
from shared.http.routes import Routes
from shared.http.server import Server, serving
from shared.ids import Key
from shared.metrics.names import Metrics
from shared.model.kinds import Home
from shared.objects.admission import Admission, AdmissionChain
from shared.objects.api import Parts, Services, Tokens, Trust, create_api, create_services
from shared.store.contract import Store
from shared.store.sql import open_store
from tests.fakes.tokens import token_for

SERVER_NAME = "spiffe://hanse.example/fsm"
LIFETIME = timedelta(hours=8)

# The network that most tests write.
WEB = Key("Network", "common", "federation", "web")
PATH = "/api/v1/networks/web"


@dataclass
class Api:
    """One running server; `client()` is closed with it."""

    server: Server
    app: web.Application
    store: Store
    services: Services
    metrics: Metrics
    clock: Clock
    clients: list[PeerClient] = field(default_factory=list)

    def token(
        self,
        *roles: str,
        tenants: Sequence[str] | None = None,
        subject: str = "user:test",
        lifetime: timedelta = LIFETIME,
    ) -> str:
        """Return a token of somebody who holds built-in roles, in some tenants or all."""
        return token_for(
            self.services.logins,
            self.clock,
            *roles,
            tenants=tenants,
            subject=subject,
            lifetime=lifetime,
        )

    def client(
        self,
        *roles: str,
        tenants: Sequence[str] | None = None,
        subject: str = "user:test",
        lifetime: timedelta = LIFETIME,
        tls: ssl.SSLContext | None = None,
        limits: PeerLimits | None = None,
    ) -> PeerClient:
        """Return a client with a token for some roles; without any, one that says nothing."""
        token = (
            self.token(*roles, tenants=tenants, subject=subject, lifetime=lifetime)
            if roles
            else None
        )
        client = PeerClient([self.server.url], tls=tls, token=lambda: token, limits=limits)
        self.clients.append(client)
        return client


@asynccontextmanager
async def running_api(
    folder: Path,
    *,
    home: Home = "fsm",
    admission: Admission | None = None,
    routes: Sequence[Routes] = (),
    tls: ssl.SSLContext | None = None,
    trust: Trust | None = None,
    limits: ConnectionLimits | None = None,
    clock: Clock | None = None,
    rates: RateSettings | None = None,
) -> AsyncIterator[Api]:
    clock = clock or SystemClock()
    store = await open_store(f"sqlite:///{folder}/store.db", clock=clock, create=True)
    metrics = Metrics()
    parts = Parts(
        home=home,
        store=store,
        admission=admission or AdmissionChain(),
        tokens=Tokens(data=folder, server=SERVER_NAME),
        trust=trust,
        clock=clock,
        metrics=metrics,
        routes=routes,
        rates=rates or RateSettings(),
    )
    services = create_services(parts)
    app = create_api(parts, services)
    try:
        async with serving(
            app, host="127.0.0.1", port=0, tls=tls, limits=limits, grace=2.0
        ) as server:
            api = Api(server, app, store, services, metrics, clock)
            try:
                yield api
            finally:
                for client in api.clients:
                    await client.close()
    finally:
        await store.close()


def network(
    name: str,
    *subnets: str,
    labels: Mapping[str, str] | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    return {
        "apiVersion": "hanse/v1",
        "kind": "Network",
        "metadata": {"name": name, "labels": dict(labels or {}), **metadata},
        "spec": {"subnets": list(subnets)} if subnets else {},
    }


def put(document: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return an operation of a transaction."""
    return {"operation": "put", "object": document, **more}


def delete(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """Return an operation of a transaction."""
    document = {"apiVersion": "hanse/v1", "kind": kind, "metadata": {"name": name}}
    return {"operation": "delete", "object": document, **more}


def revision(answer: Answer) -> int:
    return answer.json()["metadata"]["revision"]


async def audit_actions(api: Api) -> list[tuple[str, str]]:
    """Return what was done and how it ended, the oldest first."""
    await api.services.trail.flush()
    return [(r.action, r.outcome) for _, r in await api.store.audit_records()][::-1]
