"""The two places of a request where calls are counted (shared.http.rates).

`limit_origin` stands before authentication, so that nothing is done for an address that sends too
much.  A connection with a certificate is let through there, for who it belongs to is found out in
a moment; if it is then refused, that counts by its address after all.  `limit_caller` stands
behind authentication and permission.
"""

from aiohttp import web

from shared.errors import Forbidden, Unauthenticated
from shared.http.authentication import address_of
from shared.http.connections import connection_of
from shared.http.keys import CALLER, RATES, ROUTE_TABLE
from shared.http.rates import CallKind
from shared.http.routes import Handler


@web.middleware
async def limit_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    origin = connection_of(request).origin
    if origin is not None:
        request.app[RATES].check_address(origin, _kind_of(request))
        return await handler(request)
    try:
        return await handler(request)
    except (Unauthenticated, Forbidden):
        request.app[RATES].check_address(address_of(request) or "local", _kind_of(request))
        raise


@web.middleware
async def limit_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
    caller = request.get(CALLER)
    if caller is not None:
        request.app[RATES].check_caller(caller, _kind_of(request))
    return await handler(request)


def _kind_of(request: web.Request) -> CallKind:
    route = request.app[ROUTE_TABLE].get(request.match_info.route)
    return CallKind.READS if route is None else route.call_kind
