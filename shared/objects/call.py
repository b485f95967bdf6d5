"""Who asks, and by which request: handed to every use case."""

from dataclasses import dataclass

from aiohttp import web

from shared.auth.identity import Caller
from shared.http.keys import REPEATABLE
from shared.http.request import caller_of, request_id, trace_id


@dataclass(frozen=True, slots=True)
class Call:
    """`repeatable` says that the client chose the request id, so that the same request may come
    again and must count once.
    """

    caller: Caller
    request_id: str
    trace_id: str | None = None
    repeatable: bool = False


def call_of(request: web.Request) -> Call:
    return Call(
        caller=caller_of(request),
        request_id=request_id(request),
        trace_id=trace_id(request),
        repeatable=bool(request.get(REPEATABLE, False)),
    )
