"""The trace and the request id that belong to what is being done now.

After W3C Trace Context (`traceparent`).  They ride in context variables, so that a call to another
component carries them on without every function between having to.
"""

import os
import re
import secrets
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Self

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

TRACEPARENT: Final = "traceparent"
REQUEST_ID: Final = "X-Request-Id"


@dataclass(frozen=True, slots=True)
class Trace:
    """One span: 32 and 16 hexadecimal digits, and the sampling flags."""

    trace_id: str
    span_id: str
    flags: str = "00"

    @classmethod
    def new(cls) -> Self:
        return cls(_random_digits(), _random_digits()[:16])

    def child(self) -> "Trace":
        return Trace(self.trace_id, _random_digits()[:16], self.flags)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)
current_request_id: ContextVar[str | None] = ContextVar("current_request_id", default=None)


def parse_traceparent(text: str | None) -> Trace | None:
    """Return the caller's span; None if there is none or it is not valid (§3.2.2)."""
    match = _TRACEPARENT.fullmatch(text or "")
    if not match or not int(match[1], 16) or not int(match[2], 16):
        return None
    return Trace(match[1], match[2], match[3])


def parse_request_id(text: str | None) -> str | None:
    """Return a caller's request id if it is one we would repeat in logs and headers."""
    return text if text and _REQUEST_ID.fullmatch(text) else None


def new_request_id() -> str:
    return _random_digits()


# Each request needs three, and the system's randomness is cheaper by the page.  Taking one out is
# one step of the interpreter, so that threads never get the same; a forked child begins anew.
_drawn: Final[deque[str]] = deque()
_PAGE: Final = 256
_DIGITS: Final = 32
os.register_at_fork(after_in_child=_drawn.clear)


def _random_digits() -> str:
    """Return 128 random bits as 32 hexadecimal digits."""
    try:
        return _drawn.pop()
    except IndexError:
        text = secrets.token_hex(_PAGE * _DIGITS // 2)
        _drawn.extend(text[at : at + _DIGITS] for at in range(_DIGITS, len(text), _DIGITS))
        return text[:_DIGITS]


def outgoing_headers() -> dict[str, str]:
    """Return the headers that tie a call to another component to the present request."""
    trace = current_trace.get()
    headers = {TRACEPARENT: str(trace.child() if trace else Trace.new())}
    if request_id := current_request_id.get():
        headers[REQUEST_ID] = request_id
    return headers
