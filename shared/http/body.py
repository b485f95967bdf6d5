"""Reading a request's body: bounded in bytes, time, depth and meaning.

JSON is read twice: once strictly and fast (orjson refuses bad UTF-8, lone surrogates and NaN), once
by the standard library, which alone tells of duplicate keys.  What comes out can be written by
any JSON writer and stored by any database here.
"""

import asyncio
import json
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import FieldError, Invalid, Malformed, TooLarge
from shared.http.routes import BODY_LIMIT

DEPTH: Final = 32
_LARGEST: Final = 2**63 - 1

# A body may take this long, and after that must average this many bytes a second: enough for
# a bad mobile link, too fast for a client that only wants to hold the connection.
_GRACE: Final = 10.0
_RATE: Final = 16 * 1024

JSON_TYPES: Final = frozenset({"application/json", "application/merge-patch+json"})


class Body(BaseModel):
    """Base of what a route reads: frozen, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


BodyT = TypeVar("BodyT", bound=BaseModel)


async def read_body(request: web.Request, model: type[BodyT], *, limit: int = BODY_LIMIT) -> BodyT:
    """Read a JSON body into a model; Malformed, TooLarge, or Invalid with the fields' paths."""
    document = await read_json(request, limit=limit)
    try:
        return model.model_validate(document)
    except ValidationError as exc:
        raise Invalid("the request's body is not valid", fields=field_errors(exc)) from exc


async def read_json(
    request: web.Request, *, limit: int = BODY_LIMIT, types: frozenset[str] = JSON_TYPES
) -> Any:
    """Read a JSON body of at most `limit` bytes as plain data."""
    if request.content_type not in types:
        raise Malformed(
            f"the body's Content-Type must be {' or '.join(sorted(types))}, "
            f"not {request.content_type[:80]!r}",
            code="unsupported_media_type",
        )
    return parse_json(await read_bytes(request, limit=limit))


async def read_bytes(request: web.Request, *, limit: int = BODY_LIMIT) -> bytes:
    """Read a body; TooLarge as soon as it is known to be, Malformed if it comes too slowly."""
    if (request.content_length or 0) > limit:
        raise TooLarge(f"the body has {request.content_length} bytes; at most {limit} are taken")
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_GRACE) as deadline:
            start = asyncio.get_running_loop().time()
            async for piece in request.content.iter_any():
                size += len(piece)
                if size > limit:
                    raise TooLarge(f"the body is larger than the {limit} bytes that are taken")
                pieces.append(piece)
                deadline.reschedule(start + _GRACE + size / _RATE)
    except TimeoutError as exc:
        raise Malformed(f"the body came too slowly ({size} bytes)", code="slow_body") from exc
    except web.RequestPayloadError as exc:
        raise Malformed("the body ended early or is not what its headers say") from exc
    return b"".join(pieces)


def parse_json(data: bytes) -> Any:
    """Parse JSON; Malformed for what can't be read or is deeper than 32 levels."""
    try:
        orjson.loads(data)
        document = json.loads(data, object_pairs_hook=_without_duplicates)
    except RecursionError as exc:
        raise _too_deep() from exc
    except UnicodeDecodeError as exc:
        raise Malformed("the body is not UTF-8") from exc
    except ValueError as exc:  # both parsers' errors
        if "depth limit" in str(exc) or "recursion" in str(exc):
            raise _too_deep() from exc
        raise Malformed(f"the body is not JSON: {str(exc)[:200]}") from exc
    _check(document)
    return document


def field_errors(exc: ValidationError, *, prefix: str = "") -> tuple[FieldError, ...]:
    """Return pydantic's findings with our paths (`rules[2].from`) and codes."""
    return tuple(
        FieldError(
            path=path_of(error["loc"], prefix=prefix),
            code="unknown_field" if error["type"] == "extra_forbidden" else error["type"],
            message=_sentence(error["type"], error["msg"]),
        )
        for error in exc.errors(include_url=False, include_context=False, include_input=False)
    )


def path_of(location: Iterable[str | int], *, prefix: str = "") -> str:
    path = prefix
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else str(part)
    return path


def _sentence(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such field"
    return message.removeprefix("Value error, ")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Malformed(f"the key {key[:80]!r} stands twice in one object")
            seen.add(key)
    return result


def _check(document: Any) -> None:
    """Refuse depth, integers and characters that a database or another reader can't take."""
    level = [document]
    for _ in range(DEPTH):
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                _check_texts(value)
                deeper.extend(value.values())
            elif isinstance(value, list):
                deeper.extend(value)
            elif isinstance(value, str):
                _check_texts((value,))
            elif isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
                raise Malformed("a number in the body is too large")
        if not deeper:
            return
        level = deeper
    if any(isinstance(value, dict | list) for value in level):
        raise _too_deep()


def _check_texts(texts: Iterable[str]) -> None:
    for text in texts:
        if "\x00" in text:
            raise Malformed("a text in the body has a NUL character")


def _too_deep() -> Malformed:
    return Malformed(f"the body is nested deeper than {DEPTH} levels", code="too_deep")
