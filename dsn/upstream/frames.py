"""The lines of a node's configuration stream, protocol version 1.  Pure.

    {"protocol": 1, "incarnation": I}                    the first
    {"snapshot": CONFIGURATION, "generation": G, "hash": H}
    {"delta": DELTA, "generation": G, "hash": H}
    {"generation": G, "hash": H}                         the node has it already
    {"bookmark": true, "generation": G, "hash": H}       nothing new, at least every ten seconds
    {"end": CODE}                                        the site's last word

A bookmark may have `"policy": {"revision": R, "at": TIME, "age": SECONDS}`: which of the FSM's
revisions the site has, and how long ago it was the FSM's latest.

The first and a bookmark may have `"trust": {"roots": PEM, "links": PEM, "authority": SERIAL,
"revoked": {SERIAL: TIME}}`: whom the node is to believe from now on.

Lines come from another process, perhaps of another version: what can't be read is Malformed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.errors import HanseError, Malformed, Unavailable

PROTOCOL: Final = 1


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to believe: roots, the links that vouch for them, and who is out until when.

    `authority` is the serial of the site's CA from which the next certificate will come.
    """

    roots: str
    links: str
    authority: str
    revoked: Mapping[str, datetime]


@dataclass(frozen=True, slots=True)
class Hello:
    protocol: int
    incarnation: str
    trust: Trust | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A way to a newer configuration: whole, as a difference, or none because it stands already."""

    generation: int
    hash: str
    snapshot: Any = None
    delta: Any = None


@dataclass(frozen=True, slots=True)
class Bookmark:
    generation: int
    hash: str
    trust: Trust | None = None
    policy: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class End:
    code: str


Frame = Hello | Step | Bookmark | End


def parse_frame(line: Any) -> Frame:
    """Return what a line says.

    Malformed, if that can't be told or the protocol is another version; and the error itself, if
    the line is one.
    """
    if not isinstance(line, dict):
        raise Malformed("a line of the stream is not a JSON object")
    if line.get("type") == "error":
        raise _error(line)
    if "protocol" in line:
        hello = Hello(_number(line, "protocol"), _text(line, "incarnation"), _trust(line))
        if hello.protocol != PROTOCOL:
            raise Malformed(
                f"the site speaks version {hello.protocol} of the node protocol, this agent "
                f"version {PROTOCOL}: update the older of the two",
                code="unsupported_protocol",
            )
        return hello
    if "end" in line:
        return End(_text(line, "end"))
    generation, content = _number(line, "generation"), _text(line, "hash")
    if line.get("bookmark"):
        return Bookmark(generation, content, _trust(line), _policy(line))
    return Step(generation, content, line.get("snapshot"), line.get("delta"))


def _error(line: dict[str, Any]) -> HanseError:
    code = line.get("code")
    return Unavailable(
        f"the site ended the stream: {str(line.get('title'))[:200]}",
        code=code if isinstance(code, str) else None,
    )


def _trust(line: dict[str, Any]) -> Trust | None:
    given = line.get("trust")
    if given is None:
        return None
    if not isinstance(given, dict) or not isinstance(given.get("revoked"), dict):
        raise Malformed("trust in a line of the stream can't be read")
    try:
        revoked = {
            str(serial): datetime.fromisoformat(_text(given["revoked"], serial))
            for serial in given["revoked"]
        }
    except ValueError as exc:
        raise Malformed("a revocation in a line of the stream has no time") from exc
    return Trust(_text(given, "roots"), _text(given, "links"), _text(given, "authority"), revoked)


def _policy(line: dict[str, Any]) -> Mapping[str, Any] | None:
    given = line.get("policy")
    if given is None:
        return None
    age = given.get("age") if isinstance(given, dict) else None
    if not isinstance(age, int | float) or isinstance(age, bool):
        raise Malformed("the age of the policy in a line of the stream can't be read")
    return {"revision": _number(given, "revision"), "at": _text(given, "at"), "age": float(age)}


def _number(line: dict[str, Any], name: str) -> int:
    value = line.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed(f"a line of the stream has no number {name!r}")
    return value


def _text(line: dict[str, Any], name: str) -> str:
    value = line.get(name)
    if not isinstance(value, str):
        raise Malformed(f"a line of the stream has no text {name!r}")
    return value
