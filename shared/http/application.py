"""One aiohttp application from a component's routes and collaborators."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from aiohttp import web

from shared.auth.identity import Caller
from shared.clock import Clock
from shared.http import docs, health, openapi
from shared.http.authentication import Authenticator
from shared.http.health import Check
from shared.http.keys import (
    AUTHENTICATOR,
    CHECKS,
    CLOCK,
    METERS,
    METRICS,
    ON_ANSWERED,
    ON_OPENED,
    RATES,
    READERS,
    ROUTE_TABLE,
    STREAMS,
    OnAnswered,
)
from shared.http.limiting import limit_caller, limit_origin
from shared.http.meters import RequestMeters
from shared.http.middleware import admit, decorate, observe
from shared.http.ndjson import Streams
from shared.http.problems import problems
from shared.http.rates import Rates, RateSettings
from shared.http.routes import TRANSACTION_LIMIT, Routes
from shared.metrics.names import HTTP_RATE_LIMITED, Metrics


def _ignore(request: web.Request, caller: Caller | None, exc: BaseException | None) -> None:
    """Nobody wants to be told."""


def _ignore_stream(request: web.Request, caller: Caller) -> None:
    """Nobody wants to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """What every application needs."""

    clock: Clock
    metrics: Metrics
    authenticator: Authenticator
    checks: Mapping[str, Check] = field(default_factory=dict)
    on_answered: OnAnswered = _ignore
    on_opened: Callable[[web.Request, Caller], None] = _ignore_stream
    rates: RateSettings = field(default_factory=RateSettings)
    title: str = "Hanse"


def create_application(routes: Iterable[Routes], collaborators: Collaborators) -> web.Application:
    """Return an application with `routes`, health, /openapi.json and /docs."""
    app = web.Application(
        middlewares=[observe, problems, limit_origin, admit, limit_caller],
        client_max_size=TRANSACTION_LIMIT,
    )
    app[CLOCK] = collaborators.clock
    app[METRICS] = collaborators.metrics
    app[METERS] = RequestMeters(collaborators.metrics)
    app[AUTHENTICATOR] = collaborators.authenticator
    app[CHECKS] = collaborators.checks
    app[ON_ANSWERED] = collaborators.on_answered
    app[ON_OPENED] = collaborators.on_opened
    refusals = collaborators.metrics.counter(HTTP_RATE_LIMITED)
    app[RATES] = Rates(
        collaborators.rates,
        clock=collaborators.clock,
        refused=lambda guard, kind: refusals.labels(guard, kind).inc(),
    )
    app[STREAMS] = Streams()
    # One thread: more would only share the interpreter, and large bodies may wait for each other.
    # openapi.Description also relies on it.
    app[READERS] = ThreadPoolExecutor(1, thread_name_prefix="bodies")
    app[ROUTE_TABLE] = {}
    for each in (health.routes, openapi.routes, docs.routes, *routes):
        each.add_to(app)
    app[openapi.DESCRIPTION] = openapi.Description(app[ROUTE_TABLE], title=collaborators.title)
    app.on_response_prepare.append(decorate)
    app.on_shutdown.append(_end_streams)
    app.on_cleanup.append(_end_readers)
    return app


async def _end_streams(app: web.Application) -> None:
    app[STREAMS].stop()


async def _end_readers(app: web.Application) -> None:
    app[READERS].shutdown(wait=False, cancel_futures=True)
