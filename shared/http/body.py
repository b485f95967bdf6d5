"""Reading a request's body: bounded in bytes, time, depth and meaning.

JSON is read twice: once strictly and fast (orjson refuses bad UTF-8, lone surrogates and NaN), once
by the standard library, which alone tells of duplicate keys.  What comes out can be written by
any JSON writer and stored by any database here.

A body of a MiB can cost a second of reading, so large ones are read beside the event loop, one at
a time; a million empty lists in it are refused before that.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, TypeVarTuple

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import FieldError, Invalid, Malformed, TooLarge
from shared.http.connections import connection_of
from shared.http.keys import READERS
from shared.http.routes import BODY_LIMIT
from shared.model.source import (
    CONTROL,
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_INTEGER,
    MAX_VALUES,
    path_text,
)
from shared.model.validation import findings

# Reading this much takes a few milliseconds, whatever is in it.
_SMALL: Final = 16 * 1024

# In a MiB.  Keys aren't counted here, and of what is there may be as many.
_MOST_VALUES: Final = MAX_VALUES // 2

# A text as a whole, also one that never ends, or what stands before a value.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\Z|\\\Z)|[,\[{]', re.DOTALL)
_QUOTE: Final = ord('"')

JSON_TYPES: Final = frozenset({"application/json", "application/merge-patch+json"})


class Body(BaseModel):
    """Base of what a route reads: frozen, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


BodyT = TypeVar("BodyT", bound=BaseModel)
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


async def read_body(request: web.Request, model: type[BodyT], *, limit: int = BODY_LIMIT) -> BodyT:
    """Read a JSON body into a model; Malformed, TooLarge, or Invalid with the fields' paths."""
    document = await read_json(request, limit=limit)
    return await aside(request, _validated, model, document)


async def aside(
    request: web.Request, work: Callable[[*Arguments], Result], *arguments: *Arguments
) -> Result:
    """Do what grows with a body: at once for a small one, beside the event loop for a large one.

    `work` runs in a thread then, so it must touch nothing that others change.
    """
    if request.content.total_bytes <= _SMALL:
        return work(*arguments)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(request.app[READERS], work, *arguments)


def _validated(model: type[BodyT], document: Any) -> BodyT:
    try:
        return model.model_validate(document)
    except ValidationError as exc:
        fields = field_errors(exc, model=model, data=document)
        raise Invalid("the request's body is not valid", fields=fields) from exc


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
    data = await read_bytes(request, limit=limit)
    most = _MOST_VALUES * max(1, limit // MAX_DOCUMENT_BYTES)
    return await aside(request, parse_json, data, most)


async def read_bytes(request: web.Request, *, limit: int = BODY_LIMIT) -> bytes:
    """Read a body; TooLarge as soon as it is known to be, Malformed if it comes too slowly."""
    if (request.content_length or 0) > limit:
        raise TooLarge(f"the body has {request.content_length} bytes; at most {limit} are taken")
    pieces: list[bytes] = []
    size = 0
    limits = connection_of(request).limits
    try:
        async with asyncio.timeout(limits.body) as deadline:
            start = asyncio.get_running_loop().time()
            async for piece in request.content.iter_any():
                size += len(piece)
                if size > limit:
                    raise TooLarge(f"the body is larger than the {limit} bytes that are taken")
                pieces.append(piece)
                deadline.reschedule(start + limits.body + size / limits.body_rate)
    except TimeoutError as exc:
        raise Malformed(f"the body came too slowly ({size} bytes)", code="slow_body") from exc
    except web.RequestPayloadError as exc:
        raise Malformed("the body ended early or is not what its headers say") from exc
    return b"".join(pieces)


def parse_json(data: bytes, most: int = _MOST_VALUES) -> Any:
    """Parse JSON; Malformed for what can't be read or is deeper than 32 levels.

    TooLarge if it holds more than `most` values: they cost far more to judge than to send.
    """
    try:
        _check_count(data, most)
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


def field_errors(
    exc: ValidationError, *, model: type[BaseModel], data: Any
) -> tuple[FieldError, ...]:
    """Return what `model` found wrong with `data`, with our paths and codes."""
    return tuple(
        FieldError(path_text(found.path), found.code, found.message)
        for found in findings(exc, model=model, data=data)
    )


def _check_count(data: bytes, most: int) -> None:
    """Raise TooLarge before a parser makes millions of values, which holds up all threads."""
    # Each value but the first follows one of these, so that counting them settles most bodies.
    if sum(data.count(each) for each in (b",", b"[", b"{")) < most:
        return
    count = 0
    for found in _TOKEN.finditer(data):
        count += data[found.start()] != _QUOTE
        if count >= most:
            raise TooLarge(f"the body holds more than the {most} values that are taken")


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
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                _check_texts(value)
                deeper.extend(value.values())
            elif isinstance(value, list):
                deeper.extend(value)
            elif isinstance(value, str):
                _check_texts((value,))
            elif isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
                raise Malformed("a number in the body is too large")
        if not deeper:
            return
        level = deeper
    if any(isinstance(value, dict | list) for value in level):
        raise _too_deep()


def _check_texts(texts: Iterable[str]) -> None:
    for text in texts:
        if found := CONTROL.search(text):
            raise Malformed(f"a text in the body has the character U+{ord(found[0]):04X}")


def _too_deep() -> Malformed:
    return Malformed(f"the body is nested deeper than {MAX_DEPTH} levels", code="too_deep")
