"""What the application and a request carry, typed.

A key may name a protocol, so the types stand as annotations, not as arguments.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from aiohttp import web

from shared.auth.identity import Caller
from shared.clock import Clock
from shared.metrics.names import Metrics

if TYPE_CHECKING:
    from shared.http.authentication import Authenticator
    from shared.http.health import Check
    from shared.http.meters import RequestMeters
    from shared.http.ndjson import Streams
    from shared.http.rates import Rates
    from shared.http.routes import Route

OnAnswered = Callable[[web.Request, Caller | None, BaseException | None], None]
"""Told of each request that has been answered or refused, public routes left out: who called, if
that is known, and what was raised.
"""

AUTHENTICATOR: web.AppKey["Authenticator"] = web.AppKey("authenticator")
CHECKS: web.AppKey[Mapping[str, "Check"]] = web.AppKey("checks")
CLOCK: web.AppKey[Clock] = web.AppKey("clock")
METERS: web.AppKey["RequestMeters"] = web.AppKey("meters")
METRICS: web.AppKey[Metrics] = web.AppKey("metrics")
ON_ANSWERED: web.AppKey[OnAnswered] = web.AppKey("on_answered")
ON_OPENED: web.AppKey[Callable[[web.Request, Caller], None]] = web.AppKey("on_opened")
"""Told of each stream before it begins: it may go on for days."""
RATES: web.AppKey["Rates"] = web.AppKey("rates")
READERS: web.AppKey[Executor] = web.AppKey("readers")
"""Where large bodies are read, beside the event loop."""
ROUTE_TABLE: web.AppKey[dict[web.AbstractRoute, "Route"]] = web.AppKey("route_table")
STREAMS: web.AppKey["Streams"] = web.AppKey("streams")

CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
TRACE_ID: web.RequestKey[str] = web.RequestKey("trace_id", str)
BEGUN: web.RequestKey[float] = web.RequestKey("begun", float)
"""When its header was complete, by the monotonic clock."""
REPEATABLE: web.RequestKey[bool] = web.RequestKey("repeatable", bool)
"""The client chose the request id, so the same request may come again and must count once."""
