"""What the FSM and a site say to each other when the FSM asks, protocol version 1.

A question is a JSON object: what is asked (`ask`), of which `site`, within which `deadline` in
seconds, and what belongs to it (`with`).  A token in a header says in whose name; it is bound to
the very bytes of the question.  The answer is a stream of JSON lines:

    {"begun": 1, "site": "sfo", "position": POSITION | null}
    {"working": true}                                     at least once a second
    {"part": NAME, "data": {...}}                         each as soon as it is known
    {"end": true}
    {"type": "error", "status": 503, "code": …, "title": …}   instead of the end

An answer without its end is none.  What arrives was written by another process, perhaps of another
version or one that has gone bad: it is checked here, and what can't be read is Malformed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from shared.errors import Malformed
from shared.feed.wire import Position, parse_position
from shared.http.statuses import error_of

PROTOCOL: Final = 1
PREFIX: Final = "/query/v1"
ASK: Final = "/ask"
ON_BEHALF: Final = "X-On-Behalf-Of"
"""The header with the token that says in whose name something is asked."""

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """`given` is what belongs to what is asked; whoever answers reads it."""

    ask: str
    site: str
    deadline: float
    given: JSON


@dataclass(frozen=True, slots=True)
class Begun:
    """The site has taken the question up; `position` is where its copy of policy stands."""

    site: str
    position: Position | None


@dataclass(frozen=True, slots=True)
class Working:
    """The site is still there."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the answer."""

    name: str
    data: JSON


@dataclass(frozen=True, slots=True)
class End:
    """The answer is whole."""


Frame = Begun | Working | Part | End


def encode_question(question: Question) -> bytes:
    """Return the very bytes that are sent, and that the token is bound to."""
    return orjson.dumps(
        {
            "protocol": PROTOCOL,
            "ask": question.ask,
            "site": question.site,
            "deadline": question.deadline,
            "with": question.given,
        }
    )


def parse_question(document: Any) -> Question:
    """Return the question that a body stands for; Malformed if it is none."""
    found = _object(document, "a question")
    if found.get("protocol") != PROTOCOL:
        raise Malformed(
            f"a question of protocol {str(found.get('protocol'))[:20]!r} can't be answered here; "
            f"this release speaks {PROTOCOL}",
            code="unknown_protocol",
        )
    deadline = found.get("deadline")
    if isinstance(deadline, bool) or not isinstance(deadline, int | float) or not deadline > 0:
        raise Malformed("deadline is a number of seconds")
    return Question(
        _text(found, "ask"), _text(found, "site"), deadline, _object(found.get("with"), "with")
    )


def encode_begun(site: str, position: Position | None) -> bytes:
    at = None if position is None else position.to_json()
    return _line({"begun": PROTOCOL, "site": site, "position": at})


def encode_working() -> bytes:
    return _line({"working": True})


def encode_part(name: str, data: JSON) -> bytes:
    return _line({"part": name, "data": data})


def encode_end() -> bytes:
    return _line({"end": True})


def parse_frame(data: Any) -> Frame:
    """Return what a line of an answer says.

    Malformed if it can't be read; and raises the error that a line stands for.
    """
    document = _object(data, "a line of an answer")
    if document.get("type") == "error":
        status = document.get("status")
        raise error_of(status if isinstance(status, int) else 500, dict(document))
    if "begun" in document:
        if document["begun"] != PROTOCOL:
            raise Malformed("the site answers by another protocol", code="unknown_protocol")
        position = document.get("position")
        at = None if position is None else parse_position(position)
        return Begun(_text(document, "site"), at)
    if "part" in document:
        return Part(_text(document, "part"), _object(document.get("data"), "a part's data"))
    if document.get("working") is True:
        return Working()
    if document.get("end") is True:
        return End()
    raise Malformed("a line of an answer is none of those that there are")


def _line(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _object(data: Any, what: str) -> JSON:
    if not isinstance(data, dict):
        raise Malformed(f"{what} is a JSON object, not {type(data).__name__}")
    return data


def _text(document: JSON, name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise Malformed(f"{name} is text, not {type(value).__name__}")
    return value
