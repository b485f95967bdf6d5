"""What travels on a feed: pages of a snapshot, and lines of a stream, protocol version 1.

A stream opens with `{"protocol": 1}`.  Each later line is one of

    {"after": 41, "position": POSITION, "changes": [{"put": OBJECT} | {"remove": KEY, "reason": R}]}
    {"after": 43, "position": POSITION, "bookmark": true, "signed": STATEMENT}
    {"end": "view_changed"}

A line of changes is atomic: all that one or more revisions changed for this follower.  `after` is
the revision of the line before (of the first, where the follower resumed), so that one which was
doubled, lost or overtaken is noticed.  OBJECT is a document as the API gives it, without status;
`metadata.origin` is the scope it is inherited from.  STATEMENT is shared.feed.signed's; a server of
an earlier release leaves it out, and a follower of one passes over it.

What arrives was written by another process, perhaps of another version: it is checked here, and
what can't be read is Malformed.  What a spec means is for the receiver to judge.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from shared.encoding import encode_to_keep
from shared.errors import Malformed
from shared.ids import Key

PROTOCOL: Final = 1

JSON = Mapping[str, Any]


class Removal(StrEnum):
    """Why an object leaves a follower's copy."""

    DELETED = "deleted"
    DESELECTED = "deselected"
    UNSUBSCRIBED = "unsubscribed"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a copy stands.

    `digest` chains a hash over all changes of the store, `view` hashes what decides membership.
    """

    incarnation: str
    revision: int
    digest: str
    view: str

    def to_json(self) -> dict[str, Any]:
        return {
            "incarnation": self.incarnation,
            "revision": self.revision,
            "digest": self.digest,
            "view": self.view,
        }

    def to_params(self) -> dict[str, str]:
        """Return the position as query parameters."""
        return {name: str(value) for name, value in self.to_json().items()}


@dataclass(frozen=True, slots=True)
class FeedObject:
    """An object as the upper store has it: its key, its revision there, and the document."""

    key: Key
    revision: int
    document: JSON

    @property
    def spec(self) -> JSON:
        spec: JSON = self.document["spec"]
        return spec


@dataclass(frozen=True, slots=True)
class Put:
    object: FeedObject

    @property
    def key(self) -> Key:
        return self.object.key


@dataclass(frozen=True, slots=True)
class Remove:
    key: Key
    reason: Removal


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An object that was delivered once and is no longer to be had, since `revision`."""

    key: Key
    reason: Removal
    revision: int


@dataclass(frozen=True, slots=True)
class Hello:
    protocol: int


@dataclass(frozen=True, slots=True)
class Changes:
    after: int
    position: Position
    changes: tuple[Put | Remove, ...]


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Nothing else happened for this follower from `after` up to the position.

    `signed` is the server's signed word that this is its latest; see shared.feed.signed.
    """

    after: int
    position: Position
    signed: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The server's last word; `reason` is a code such as `view_changed`."""

    reason: str


Frame = Hello | Changes | Bookmark | End


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a snapshot; `next` is the token of the following page, None at the last."""

    position: Position
    objects: tuple[FeedObject, ...]
    tombstones: tuple[Tombstone, ...] = ()
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a follower is to have at a position, and what it is to let go."""

    position: Position
    objects: tuple[FeedObject, ...]
    tombstones: tuple[Tombstone, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object that a follower could not take, and why; it keeps its last good version."""

    key: Key
    code: str


def key_to_json(key: Key) -> dict[str, str]:
    return {"kind": key.kind, "tenant": key.tenant, "scope": key.scope, "name": key.name}


def encode_hello() -> bytes:
    return _line({"protocol": PROTOCOL})


def encode_changes(after: int, position: Position, changes: Sequence[bytes]) -> bytes:
    """Return a line of changes, each as encode_put or encode_remove made it."""
    return b"".join(parts_of_changes(after, position, changes))


def parts_of_changes(after: int, position: Position, changes: Sequence[bytes]) -> Sequence[bytes]:
    """Return a line of changes in parts, the changes themselves as they are: to be shared."""
    head = orjson.dumps({"after": after, "position": position.to_json(), "changes": []})
    parts = [head[:-2], *(part for change in changes for part in (b",", change)), b"]}\n"]
    del parts[1:2]  # the comma before the first
    return parts


def encode_put(document: bytes) -> bytes:
    """Return the change that puts an object; `document` is its JSON, serialised once for all."""
    return encode_to_keep({"put": orjson.Fragment(document)})


def encode_remove(key: Key, reason: Removal) -> bytes:
    return orjson.dumps({"remove": key_to_json(key), "reason": reason.value})


def encode_bookmark(after: int, position: Position, signed: str | None = None) -> bytes:
    said = {"signed": signed} if signed else {}
    return _line({"after": after, "position": position.to_json(), "bookmark": True, **said})


def encode_end(reason: str) -> bytes:
    return _line({"end": reason})


def encode_page(
    position: Position,
    documents: Sequence[bytes],
    tombstones: Sequence[Tombstone],
    following: str | None,
) -> bytes:
    """Return a page; `documents` are objects in JSON, `following` the next page's token."""
    return b"".join(parts_of_page(position, documents, tombstones, following))


def parts_of_page(
    position: Position,
    documents: Sequence[bytes],
    tombstones: Sequence[Tombstone],
    following: str | None,
) -> Iterator[bytes]:
    """Yield a page in parts, the documents as they are: all who ask share them."""
    yield orjson.dumps({"position": position.to_json()})[:-1] + b',"objects":['
    for number, document in enumerate(documents):
        if number:
            yield b","
        yield document
    rest = {
        "tombstones": [
            {
                "key": key_to_json(each.key),
                "reason": each.reason.value,
                "revision": each.revision,
            }
            for each in tombstones
        ],
        "next": following,
    }
    yield b"]," + orjson.dumps(rest)[1:]


def parse_frame(data: Any) -> Frame:
    """Return the frame that a line's JSON stands for; Malformed if it is none."""
    document = _object(data, "a line of the feed")
    if "protocol" in document:
        return Hello(_number(document, "protocol"))
    if "end" in document:
        return End(_text(document, "end"))
    after, position = _number(document, "after"), parse_position(document.get("position"))
    if document.get("bookmark") is True:
        signed = document.get("signed")
        return Bookmark(after, position, signed if isinstance(signed, str) else None)
    changes = tuple(_change(each) for each in _list(document, "changes"))
    return Changes(after, position, changes)


def parse_page(data: Any) -> Page:
    """Return the page that an answer's JSON stands for; Malformed if it is none."""
    document = _object(data, "a page of a snapshot")
    following = document.get("next")
    if following is not None and not isinstance(following, str):
        raise Malformed("next of a page is neither text nor null")
    return Page(
        position=parse_position(document.get("position")),
        objects=tuple(parse_object(each) for each in _list(document, "objects")),
        tombstones=tuple(_tombstone(each) for each in _list(document, "tombstones")),
        next=following,
    )


def parse_position(data: Any) -> Position:
    document = _object(data, "a position")
    return Position(
        incarnation=_text(document, "incarnation"),
        revision=_number(document, "revision"),
        digest=_text(document, "digest"),
        view=_text(document, "view"),
    )


def parse_object(data: Any) -> FeedObject:
    document = _object(data, "an object of the feed")
    metadata = _object(document.get("metadata"), "an object's metadata")
    _object(document.get("spec"), "an object's spec")
    key = parse_key({**metadata, "kind": document.get("kind")})
    return FeedObject(key, _number(metadata, "revision"), document)


def parse_key(data: Any) -> Key:
    document = _object(data, "a key")
    return Key(*(_text(document, name) for name in ("kind", "tenant", "scope", "name")))


def parse_removal(data: Any) -> Removal:
    try:
        return Removal(data)
    except ValueError as exc:
        raise Malformed(f"{str(data)[:80]!r} is no reason for a removal") from exc


def _change(data: Any) -> Put | Remove:
    document = _object(data, "a change")
    if "put" in document:
        return Put(parse_object(document["put"]))
    return Remove(parse_key(document.get("remove")), parse_removal(document.get("reason")))


def _tombstone(data: Any) -> Tombstone:
    document = _object(data, "a tombstone")
    return Tombstone(
        parse_key(document.get("key")),
        parse_removal(document.get("reason")),
        _number(document, "revision"),
    )


def _line(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _object(data: Any, what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Malformed(f"{what} is a JSON object, not {type(data).__name__}")
    return data


def _list(document: JSON, name: str) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list):
        raise Malformed(f"{name} is a list, not {type(value).__name__}")
    return value


def _text(document: JSON, name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise Malformed(f"{name} is text, not {type(value).__name__}")
    return value


def _number(document: JSON, name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Malformed(f"{name} is a whole number, not {str(value)[:80]!r}")
    return value
