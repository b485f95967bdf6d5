"""Who asks, and by which request: handed to every use case."""

from dataclasses import dataclass, field

from aiohttp import web

from shared.auth.identity import Caller
from shared.http.keys import BEGUN, REPEATABLE
from shared.http.request import caller_of, request_id, trace_id
from shared.ids import Key

CALL: web.RequestKey["Call"] = web.RequestKey("call")

Note = tuple[str, str, str | None, Key | None]
"""What a read was: its action, kind, tenant and object."""


@dataclass(slots=True)
class Call:
    """`repeatable` says that the client chose the request id, so that the same request may come
    again and must count once.  `begun` is when it began, by the monotonic clock.

    The last three are the audit trail's (shared.objects.trail): what was read, to be recorded once
    the answer is there, and whether a record of this call, or of its refusal, has been made.
    """

    caller: Caller
    request_id: str
    trace_id: str | None = None
    repeatable: bool = False
    begun: float | None = None
    note: Note | None = field(default=None, compare=False)
    is_recorded: bool = field(default=False, compare=False)
    is_refused: bool = field(default=False, compare=False)


def call_of(request: web.Request) -> Call:
    """Return the request's call, the same one each time."""
    known: Call | None = request.get(CALL)
    if known is not None:
        return known
    made = request[CALL] = Call(
        caller_of(request),
        request_id(request),
        trace_id(request),
        bool(request.get(REPEATABLE, False)),
        request.get(BEGUN),
    )
    return made
