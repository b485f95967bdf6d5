"""Turn what went wrong into application/problem+json (RFC 9457): the last step of every request."""

import logging
import math
from typing import Any, Final

import orjson
from aiohttp import web

from shared import errors
from shared.http.request import request_id
from shared.http.routes import Handler
from shared.http.statuses import status_of

log = logging.getLogger(__name__)

PROBLEM_TYPE: Final = "application/problem+json"

# What aiohttp itself answers, in our words.
_HTTP: Final = {
    400: ("malformed", "the request can't be read"),
    404: ("not_found", "there is nothing at this address; see /docs"),
    405: ("method_not_allowed", "this address doesn't take that method; see /docs"),
    413: ("too_large", "the request is too large"),
    417: ("expectation_failed", "Expect may only be 100-continue"),
}

# RFC 6750 §3.
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="hanse"'}


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except errors.HanseError as exc:
        fields = {"code": exc.code, "detail": exc.detail, "request_id": request_id(request)}
        log.info("request refused", extra=fields)
        return problem_response(request, exc)
    except web.HTTPException as exc:
        return _from_http(request, exc)
    except ConnectionError:
        # Whoever asked is gone, so nobody reads what we answer.
        raise
    except Exception:  # the second and last place that may catch this
        log.exception("unhandled error", extra={"request_id": request_id(request)})
        mistake = errors.HanseError("the server made a mistake; it has been logged")
        return problem_response(request, mistake)


def problem_response(request: web.BaseRequest, exc: errors.HanseError) -> web.Response:
    status = status_of(exc)
    headers: dict[str, str] = {}
    if isinstance(exc, errors.TooManyRequests):
        headers["Retry-After"] = str(max(1, math.ceil(exc.retry_after)))
    elif isinstance(exc, errors.Unavailable) and not isinstance(exc, errors.StorageFull):
        headers["Retry-After"] = "1"
    elif isinstance(exc, errors.Unauthenticated):
        headers |= _CHALLENGE
    return _response(problem_document(exc, request_id=request_id(request)), status, headers)


def problem_document(exc: errors.HanseError, *, request_id: str) -> dict[str, Any]:
    """Return the document; its `title` is the sentence for people, `code` is for programs."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": exc.message,
        "status": status_of(exc),
        "code": exc.code,
        "errors": [field_document(each) for each in exc.fields],
        "requestId": request_id,
    }
    if isinstance(exc, errors.RevisionCompacted):
        document["oldest"] = exc.oldest
    return document


def field_document(fault: errors.FieldError) -> dict[str, Any]:
    document: dict[str, Any] = {"path": fault.path, "code": fault.code, "message": fault.message}
    if fault.file is not None:
        document["file"] = fault.file
    if fault.line is not None:
        document["line"] = fault.line
    return document


def _from_http(request: web.Request, exc: web.HTTPException) -> web.Response:
    code, title = _HTTP.get(exc.status, ("http_error", exc.reason or "the request was refused"))
    document = {
        "type": "about:blank",
        "title": title,
        "status": exc.status,
        "code": code,
        "errors": [],
        "requestId": request_id(request),
    }
    allow = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else {}
    return _response(document, exc.status, allow)


def _response(document: dict[str, Any], status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(
        body=orjson.dumps(document),
        status=status,
        headers={"Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store", **headers},
    )
