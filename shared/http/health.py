"""Is it alive, is it ready, how does it do: for machines that watch machines."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from shared.access.permissions import Permission
from shared.errors import HanseError
from shared.http.keys import CHECKS, METRICS
from shared.http.rates import CallKind
from shared.http.response import json_response
from shared.http.routes import PUBLIC, Routes

Check = Callable[[], Awaitable[None]]
"""Returns if something works; raises a HanseError that says what is wrong."""

# A check that takes longer has failed: whoever asks gives up after a second or two.
_PATIENCE: Final = 2.0

routes = Routes(tag="health")


class Health(BaseModel):
    """Whether the server works, and which of its parts don't."""

    ready: bool = Field(description="All checks passed.")
    checks: dict[str, str] = Field(description="Per check: ok, or the code of what is wrong.")


@routes.get("/livez", permission=PUBLIC, answer=Health, counts_as=CallKind.FREE)
async def live(_: web.Request) -> web.Response:
    """Tell that the process answers at all."""
    return json_response({"ready": True, "checks": {}})


@routes.get("/readyz", permission=PUBLIC, answer=Health, counts_as=CallKind.FREE)
async def ready(request: web.Request) -> web.Response:
    """Tell whether the server can do its work.

    Answers 503 if a check fails.  Codes only: what is wrong in detail stands in the log.
    """
    checks = request.app[CHECKS]
    results = {name: await _result(check) for name, check in checks.items()}
    good = all(result == "ok" for result in results.values())
    return json_response({"ready": good, "checks": results}, status=200 if good else 503)


@routes.get("/metrics", permission=Permission.READ_METRICS, media_type="text/plain")
async def metrics(request: web.Request) -> web.Response:
    """Return all metrics in Prometheus' text format."""
    body = request.app[METRICS].exposition()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _result(check: Check) -> str:
    try:
        async with asyncio.timeout(_PATIENCE):
            await check()
    except HanseError as exc:
        return exc.code
    except TimeoutError:
        return "timeout"
    return "ok"
