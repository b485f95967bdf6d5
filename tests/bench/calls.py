"""What a call costs besides its work: who is it, may he, how often already, and a record of it.

A handler of a real server holds on to a real request and does these steps for it again and again:
the token found, the caller rechecked, both limits, the permission on one object, the note of what
was read; and the writing of the records to a store on disk, whose CPU time in all threads is
counted for each record.  A new token is one that this process hasn't seen: of a login that it
knows, and of one that it must find in the store.
"""

import asyncio
import gc
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from statistics import median
from typing import Any, Final

from aiohttp import web

from shared.collector import calm_collector
from shared.http.keys import AUTHENTICATOR, RATES
from shared.http.rates import CallKind
from shared.http.response import json_response
from shared.http.routes import AUTHENTICATED, Routes
from shared.ids import Key
from shared.login.session_records import SESSIONS
from shared.objects.call import CALL, call_of
from shared.objects.keys import TRAIL
from shared.objects.rights import check_read, may_read
from shared.pki.tls import server_context, visitor_context
from shared.store.contract import Transaction
from tests.bench.harness import Goal, Measurement, Results, Run, benchmark
from tests.fakes.federation import Federation
from tests.fakes.tokens import token_for
from tests.integration.api.harness import Api, running_api

SEEN: Final = Goal(25.0, "at most", of="figure")
NEW: Final = Goal(0.3, "at most", of="figure")
RECORDS: Final = 1000
"""Calls in a round; so many records are written together."""
NEW_TOKENS: Final = 50

Steps = dict[str, float]


@benchmark("calls", title="a call's identity, permission, limits and audit record")
def calls(run: Run) -> Results:
    rounds = run.pick(30, 3)
    found = asyncio.run(_measured(run, rounds))
    seen = {name: each for name, each in found.items() if not name.startswith("new token")}
    return Results(
        [
            Measurement(
                "of a token seen before, together",
                sum(seen.values()),
                "µs",
                goal=SEEN,
                extra={"steps": seen},
            ),
            *(Measurement(f"  {name}", each, "µs") for name, each in seen.items()),
            Measurement("new token, a login known here", found["new token"] / 1000, "ms", goal=NEW),
            Measurement(
                "new token, a login of another process", found["new token, stored"] / 1000, "ms"
            ),
        ],
        notes=[f"medians of {rounds} rounds of {RECORDS} calls; CPU time for the records written"],
    )


async def _measured(run: Run, rounds: int) -> Steps:
    found: list[Steps] = []
    routes = Routes("/bench")

    @routes.get("/calls", permission=AUTHENTICATED)
    async def measure(request: web.Request) -> web.Response:
        """Measure with this very request."""
        calm_collector()  # as every server does
        found.extend([await _round(request) for _ in range(rounds)])
        return json_response({})

    federation = Federation()
    tls = server_context(federation.fsm())
    async with running_api(run.folder, routes=[routes], tls=tls) as api:
        client = api.client("viewer", tls=visitor_context(federation.roots))
        await client.get("/bench/calls")
        steps = {name: median(each[name] for each in found) for name in found[0]}
        kept = [await _new_tokens(api, is_known=True) for _ in range(rounds)]
        stored = [await _new_tokens(api, is_known=False) for _ in range(rounds)]
    return {**steps, "new token": median(kept), "new token, stored": median(stored)}


async def _round(request: web.Request) -> Steps:
    """Return the microseconds of each step, a call."""
    authenticator, rates = request.app[AUTHENTICATOR], request.app[RATES]
    trail = request.app[TRAIL]
    caller = await authenticator.caller(request)
    assert caller is not None
    call = call_of(request)
    key = Key("Network", "common", "federation", "n1")
    labels: dict[str, str] = {}
    made = iter([replace(call, request_id=secrets.token_hex(16)) for _ in range(RECORDS)])

    async def authenticate() -> None:
        await authenticator.caller(request)

    def limit() -> None:
        rates.check_address("192.0.2.1", CallKind.READS)
        rates.check_caller(caller, CallKind.READS)

    def permit() -> None:
        check_read(caller, key)
        may_read(caller, key, labels)

    async def note() -> None:
        request[CALL] = each = next(made)
        await trail.read(each, "get", key.kind, key=key)
        trail.answered(request, caller, None)

    await trail.flush()
    steps = {
        "token and recheck": await _timed(authenticate),
        "limits": _timed_at_once(limit),
        "role and tenant": _timed_at_once(permit),
        "audit, on the way": await _timed(note),
    }
    began = time.process_time()
    await trail.flush()
    steps["audit, written"] = 1e6 * (time.process_time() - began) / RECORDS
    return steps


async def _timed(work: Callable[[], Awaitable[Any]]) -> float:
    gc.collect()
    began = time.perf_counter()
    for _ in range(RECORDS):
        await work()
    return 1e6 * (time.perf_counter() - began) / RECORDS


def _timed_at_once(work: Callable[[], Any]) -> float:
    gc.collect()
    began = time.perf_counter()
    for _ in range(RECORDS):
        work()
    return 1e6 * (time.perf_counter() - began) / RECORDS


async def _new_tokens(api: Api, *, is_known: bool) -> float:
    """Return the microseconds until a new token's caller is known."""
    callers = api.services.logins.callers
    before = set(callers._sessions)
    tokens = [
        token_for(api.services.logins, api.clock, "viewer", lifetime=timedelta(minutes=15))
        for _ in range(NEW_TOKENS)
    ]
    made = [each for name, each in callers._sessions.items() if name not in before]
    if not is_known:

        async def work(transaction: Transaction) -> None:
            for each in made:
                await transaction.put_record(SESSIONS, each.id, each.to_record())

        await api.store.transact(work)
        for each in made:
            del callers._sessions[each.id]
    began = time.perf_counter()
    for token in tokens:
        await callers(token)
    return 1e6 * (time.perf_counter() - began) / NEW_TOKENS
