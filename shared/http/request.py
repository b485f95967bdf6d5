"""What a handler asks of a request."""

from typing import Final

from aiohttp import web

from shared.auth.identity import Caller
from shared.errors import Forbidden, Malformed, Unauthenticated
from shared.http.keys import CALLER, REQUEST_ID, TRACE_ID
from shared.ids import Revision
from shared.pki.peer import PeerIdentity
from shared.store.contract import ABSENT

_TRUTH: Final = {"": True, "true": True, "1": True, "false": False, "0": False}


def caller_of(request: web.Request) -> Caller:
    """Return who is calling; Unauthenticated if the route is public and nobody said."""
    caller: Caller | None = request.get(CALLER)
    if caller is None:
        raise Unauthenticated("say who you are: send a bearer token or a client certificate")
    return caller


def peer_of(request: web.Request) -> PeerIdentity:
    """Return the calling component; Forbidden if it is a person."""
    peer = caller_of(request).peer
    if peer is None:
        raise Forbidden("only a component with a certificate may call this")
    return peer


def request_id(request: web.BaseRequest) -> str:
    found: str = request.get(REQUEST_ID, "")
    return found


def trace_id(request: web.Request) -> str | None:
    found: str | None = request.get(TRACE_ID)
    return found


def expected_revision(request: web.Request) -> Revision | None:
    """Return the revision of If-Match; ABSENT for `If-None-Match: *`; None without either."""
    if (absent := request.headers.get("If-None-Match")) is not None:
        if absent.strip() != "*" or "If-Match" in request.headers:
            raise Malformed("If-None-Match may only be *, and not beside If-Match")
        return ABSENT
    text = request.headers.get("If-Match")
    if text is None:
        return None
    digits = text.strip().strip('"')
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise Malformed(f'If-Match must be a revision such as "42", not {text[:40]!r}')
    return Revision(int(digits))


def is_dry_run(request: web.Request) -> bool:
    return flag(request, "dryRun")


def flag(request: web.Request, name: str) -> bool:
    """Return a boolean query parameter; left out is false."""
    if not request.rel_url.raw_query_string or name not in request.query:
        return False
    text = request.query[name]
    if text not in _TRUTH:
        raise Malformed(f"{name} must be true or false, not {text[:40]!r}")
    return _TRUTH[text]


def text(request: web.Request, name: str) -> str | None:
    """Return a query parameter, at most once given; None if left out."""
    if not request.rel_url.raw_query_string:
        return None
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise Malformed(f"{name} is given {len(values)} times")
    if values and (len(values[0]) > 4096 or "\x00" in values[0]):
        raise Malformed(f"{name} is no text that could mean anything here")
    return values[0] if values else None


def number(request: web.Request, name: str, *, lowest: int = 0, highest: int = 2**53) -> int | None:
    """Return a whole-number query parameter within bounds; None if left out."""
    given = text(request, name)
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) <= 16):
        raise Malformed(f"{name} must be a whole number, not {given[:40]!r}")
    value = int(given)
    if not lowest <= value <= highest:
        raise Malformed(f"{name} must be between {lowest} and {highest}, not {value}")
    return value


def only_parameters(request: web.Request, *names: str) -> None:
    """Refuse query parameters that this route doesn't know, so that a typing error is told."""
    if not request.rel_url.raw_query_string:
        return
    unknown = sorted(set(request.query) - set(names))
    if unknown:
        known = ", ".join(sorted(names)) or "none"
        raise Malformed(
            f"unknown query parameter {unknown[0][:80]!r}; this route takes: {known}",
            code="unknown_parameter",
        )
