"""What happens around every handler, outermost first.

1. `observe`: the request id and the trace, in and out; one line in the log; the metrics.
2. `problems` (shared.http.problems): errors become answers.
3. `admit`: not too often, who calls, and may they use this route at all.
"""

import sys
from typing import Final

from aiohttp import web
from aiohttp.hdrs import SERVER
from multidict import CIMultiDict

from shared.access.authorize import authorize
from shared.access.permissions import Permission
from shared.auth.identity import Caller, CallerKind
from shared.errors import Forbidden, Malformed, Unauthenticated
from shared.http.authentication import address_of
from shared.http.connections import connection_of
from shared.http.keys import (
    AUTHENTICATOR,
    BEGUN,
    CALLER,
    CLOCK,
    METERS,
    ON_ANSWERED,
    ON_OPENED,
    REPEATABLE,
    REQUEST_ID,
    ROUTE_TABLE,
    TRACE_ID,
)
from shared.http.ndjson import NDJSON
from shared.http.ready import SERVER_HEADERS
from shared.http.routes import Access, Handler, Route
from shared.http.trace import (
    REQUEST_ID as REQUEST_ID_HEADER,
)
from shared.http.trace import (
    TRACEPARENT,
    Trace,
    current_request_id,
    current_trace,
    new_request_id,
    parse_request_id,
    parse_traceparent,
)
from shared.tasks.log import log_request

_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"})

_OTHERS: Final = CIMultiDict(
    {name: value for name, value in SERVER_HEADERS.items() if name != SERVER}
)
_OWN_WORDS: Final = frozenset(_OTHERS)
"""A handler may have said one of these itself."""


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    clock = request.app[CLOCK]
    given = parse_request_id(request.headers.get(REQUEST_ID_HEADER))
    received = parse_traceparent(request.headers.get(TRACEPARENT))
    trace = received.child() if received else Trace.new()
    request[REQUEST_ID] = given or new_request_id()
    request[REPEATABLE] = given is not None
    request[TRACE_ID] = trace.trace_id
    # Each request has a task, and so a context, of its own: nothing needs to be set back.
    current_request_id.set(request[REQUEST_ID])
    current_trace.set(trace)
    connection = connection_of(request)
    connection.begin()
    start, status, streamed = clock.monotonic(), 499, False  # nginx's number for "client left"
    request[BEGUN] = start
    try:
        response = await handler(request)
        # Streams are never answers that are made whole.
        whole = isinstance(response, web.Response)
        status, streamed = response.status, not whole and response.content_type == NDJSON
        return response
    finally:
        connection.end()
        seconds = clock.monotonic() - start
        _count(request, status, None if streamed else seconds)
        _log(request, status, seconds)


async def decorate(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that every answer has; runs just before the header is sent.

    What shared.http.ready sends has them already.
    """
    response.headers[REQUEST_ID_HEADER] = request.get(REQUEST_ID, "")
    if trace := current_trace.get():
        response.headers[TRACEPARENT] = str(trace)
    headers = response.headers
    # By now aiohttp has put its own there.
    headers[SERVER] = SERVER_HEADERS[SERVER]
    if _OWN_WORDS.isdisjoint(headers):
        headers.extend(_OTHERS)
        return
    for name, value in _OTHERS.items():
        headers.setdefault(name, value)


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    app, caller = request.app, None
    route = app[ROUTE_TABLE].get(request.match_info.route)
    if route is not None and route.permission is Access.PUBLIC:
        _check_encoding(request)
        return await handler(request)
    try:
        _check_encoding(request)
        if request.match_info.http_exception is not None:
            return await handler(request)
        caller = await app[AUTHENTICATOR].caller(request)
        if caller is not None:
            request[CALLER] = caller
        check_route(route, caller)
        if caller is not None and route is not None and route.media_type == NDJSON:
            app[ON_OPENED](request, caller)
        return await handler(request)
    finally:
        # A handler may have found out in whose name a component asks.
        app[ON_ANSWERED](request, request.get(CALLER, caller), sys.exc_info()[1])


def _check_encoding(request: web.Request) -> None:
    if "Content-Encoding" in request.headers:
        # A small body could become a huge one; nothing sent here needs it.
        raise Malformed("compressed bodies are not taken", code="compressed_body")


def check_route(route: Route | None, caller: Caller | None) -> None:
    """Raise Unauthenticated or Forbidden unless `caller` may use a route that is not public."""
    if route is None:
        raise Forbidden("nobody may use this route: it declares no permission")
    if caller is None:
        raise Unauthenticated("say who you are: send a bearer token or a client certificate")
    if route.permission is Access.AUTHENTICATED:
        return
    if route.permission is Access.PEER:
        if caller.kind is not CallerKind.COMPONENT or caller.peer is None:
            raise Forbidden("only a component with a certificate may call this")
        if caller.peer.id.role not in route.peers:
            expected = " or ".join(sorted(route.peers))
            raise Forbidden(
                f"{expected} is expected here, not {caller.peer.id}", code="wrong_identity"
            )
        return
    if isinstance(route.permission, Permission):
        decision = authorize(caller, route.permission)
        if not decision.allowed:
            raise Forbidden(decision.reason)


def _count(request: web.Request, status: int, seconds: float | None) -> None:
    method = request.method if request.method in _METHODS else "other"
    request.app[METERS].count(method, _path_of(request), status, seconds)


def _log(request: web.Request, status: int, seconds: float) -> None:
    caller: Caller | None = request.get(CALLER)
    fields = {
        "method": request.method,
        "path": request.path,
        "route": _path_of(request),
        "status": status,
        "seconds": round(seconds, 4),
        "address": address_of(request),
        "identity": caller.identity if caller else None,
        "request_id": request[REQUEST_ID],
        "trace_id": request[TRACE_ID],
    }
    log_request(fields)


def _path_of(request: web.Request) -> str:
    """Return the route's pattern: few values, whatever clients ask for."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unknown"
