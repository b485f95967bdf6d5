"""Routes that can't be declared without saying who may use them.

A Route is also all that the OpenAPI document is made from, so that the two can't differ.  Which
permission an object needs in its own tenant and scope is the service's business; here it is
refused to those who hold the permission nowhere.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from shared.access.permissions import Permission
from shared.http.keys import ROUTE_TABLE
from shared.http.ndjson import NDJSON
from shared.http.rates import CallKind
from shared.pki.identity import Role

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Decorator = Callable[[Handler], Handler]

MIB: Final = 1024 * 1024
BODY_LIMIT: Final = MIB
TRANSACTION_LIMIT: Final = 8 * MIB


class Access(Enum):
    """What a route asks for instead of a permission."""

    PUBLIC = "public"
    """Nothing at all: whoever reaches the port."""
    AUTHENTICATED = "authenticated"
    """Any caller whose identity is known."""
    PEER = "peer"
    """A component with the right role in its certificate."""


PUBLIC: Final = Access.PUBLIC
AUTHENTICATED: Final = Access.AUTHENTICATED
PEER: Final = Access.PEER

Required = Permission | Access


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query or header parameter, as the OpenAPI document describes it."""

    name: str
    description: str
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})
    where: str = "query"
    required: bool = False


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    handler: Handler
    permission: Required
    peers: frozenset[Role] = frozenset()
    summary: str = ""
    description: str = ""
    tag: str = "general"
    body: type[BaseModel] | None = None
    body_type: str = "application/json"
    answer: type[BaseModel] | None = None
    parameters: tuple[Parameter, ...] = ()
    status: int = 200
    media_type: str = "application/json"
    answers: Mapping[str, Any] = field(default_factory=dict)
    """Further responses by status, as OpenAPI has them."""
    counts_as: CallKind | None = None
    """Which limit of shared.http.rates counts it; None: what its method and answer suggest."""

    @cached_property
    def call_kind(self) -> CallKind:
        if self.counts_as is not None:
            return self.counts_as
        if self.media_type == NDJSON:
            return CallKind.STREAMS
        if self.method == "GET":
            return CallKind.READS
        return CallKind.LOGINS if self.permission is PUBLIC else CallKind.WRITES

    def __post_init__(self) -> None:
        if (self.permission is PEER) != bool(self.peers):
            raise ValueError(f"{self.method} {self.path}: give peer= and permission=PEER together")


class Routes:
    """Collects the routes of one module under a prefix."""

    def __init__(self, prefix: str = "", *, tag: str = "general") -> None:
        self._prefix = prefix
        self._tag = tag
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def route(
        self,
        method: str,
        path: str,
        *,
        permission: Required,
        peer: Role | Sequence[Role] = (),
        **described: Any,
    ) -> Decorator:
        """Declare a handler.  `described` are the further fields of Route; summary and
        description come from the handler's docstring unless given.
        """
        peers = frozenset([peer] if isinstance(peer, Role) else peer)

        def declare(handler: Handler) -> Handler:
            summary, description = _prose_of(handler)
            fields = {
                "summary": summary,
                "description": description,
                "tag": self._tag,
            } | described
            self._routes.append(
                Route(method, self._prefix + path, handler, permission, peers, **fields)
            )
            return handler

        return declare

    def get(self, path: str, *, permission: Required, **described: Any) -> Decorator:
        return self.route("GET", path, permission=permission, **described)

    def put(self, path: str, *, permission: Required, **described: Any) -> Decorator:
        return self.route("PUT", path, permission=permission, **described)

    def post(self, path: str, *, permission: Required, **described: Any) -> Decorator:
        return self.route("POST", path, permission=permission, **described)

    def patch(self, path: str, *, permission: Required, **described: Any) -> Decorator:
        return self.route("PATCH", path, permission=permission, **described)

    def delete(self, path: str, *, permission: Required, **described: Any) -> Decorator:
        return self.route("DELETE", path, permission=permission, **described)

    def add_to(self, app: web.Application) -> None:
        """Register the routes; `app` must have a ROUTE_TABLE."""
        for route in self._routes:
            added = app.router.add_route(route.method, route.path, route.handler)
            app[ROUTE_TABLE][added] = route


def _prose_of(handler: Handler) -> tuple[str, str]:
    text = (handler.__doc__ or "").strip()
    summary, _, rest = text.partition("\n\n")
    return " ".join(summary.split()), "\n".join(line.strip() for line in rest.splitlines()).strip()
