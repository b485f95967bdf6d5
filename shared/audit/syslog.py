"""Audit records as syslog: RFC 5424 messages, framed by octet counts over TLS (RFC 5425).

A record is one message: its fields are structured data, so that nothing that somebody sent can end
a message, begin another one or pass for a field of its own.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shared.store.contract import SealText

_AUDIT: Final = 13
"""The facility "log audit" (RFC 5424 §6.2.1)."""
_INFORMATIONAL: Final = 6
_WARNING: Final = 4
_NOTICE: Final = 5

_ID: Final = "hanse@32473"
"""The enterprise number that RFC 5612 keeps for documentation, since Hanse has none of its own."""

_LONGEST: Final = 4000
"""Characters of one value; receivers take messages of 8 KiB (RFC 5425 §4.3.1)."""

# Controls of ASCII and Latin-1, line and paragraph separators, what turns the direction of text,
# and halves of surrogate pairs: what a terminal or a viewer could obey.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_SPECIAL: Final = re.compile(r'["\\\]]')
_NAME: Final = re.compile(r"[^\x21-\x7e]")

_FIELDS: Final = (
    *("number", "request_id", "identity", "action", "outcome", "tenant", "kind"),
    *("object_tenant", "scope", "name", "source_address", "reason", "revision", "trace_id"),
    *("authority", "credential", "duration", "chain", "position"),
)
_NAMES: Final = {
    "request_id": "requestId",
    "object_tenant": "objectTenant",
    "source_address": "sourceAddress",
    "trace_id": "traceId",
    "duration": "microseconds",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sends: a host name and the server's kind."""

    host: str
    process: str


def message_of(row: Mapping[str, Any], stored_hash: str | None, origin: Origin) -> bytes:
    """Return the message of a record, as shared.store.chain has its row."""
    fields = [(_NAMES.get(name, name), row[name]) for name in _FIELDS if row[name] is not None]
    if stored_hash:
        fields.append(("hash", stored_hash))
    if row["diff"] not in (None, "{}"):
        fields.append(("diff", row["diff"]))
    subject = "/".join(str(row[each]) for each in ("kind", "name") if row[each])
    text = " ".join(filter(None, (row["identity"], row["action"], subject, row["outcome"])))
    severity = _INFORMATIONAL if row["outcome"] in ("ok", "opened") else _WARNING
    return _message(_Head(severity, row["at"], "RECORD"), fields, text, origin)


def message_of_seal(seal: SealText, at: datetime, origin: Origin) -> bytes:
    """Return the message of a seal, which kept elsewhere guards the trail's end."""
    fields = [
        ("sequence", seal.sequence),
        ("hash", seal.hash),
        ("signature", seal.signature),
        ("body", seal.body),
    ]
    micros = round(at.timestamp() * 1e6)
    head = _Head(_NOTICE, micros, "SEAL")
    return _message(head, fields, f"seal {seal.sequence} {seal.hash}", origin)


def frame(message: bytes) -> bytes:
    """Return a message with its length in front (RFC 5425 §4.3)."""
    return b"%d %s" % (len(message), message)


def frames_in(data: bytes) -> Iterator[bytes]:
    """Yield the whole messages at the front of what was received; ValueError if it has none."""
    while data:
        length, space, rest = data.partition(b" ")
        if not space or not length.isdigit():
            raise ValueError("a frame begins with its length")
        size = int(length)
        if len(rest) < size:
            return
        yield rest[:size]
        data = rest[size:]


@dataclass(frozen=True, slots=True)
class _Head:
    """What begins a message; `at` in microseconds since 1970."""

    severity: int
    at: int
    kind: str


def _message(what: _Head, fields: list[tuple[str, Any]], text: str, origin: Origin) -> bytes:
    at = what.at
    moment = datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    data = "".join(f' {name}="{_value(str(value))}"' for name, value in fields)
    host = _header(origin.host, 255)
    head = (
        f"<{_AUDIT * 8 + what.severity}>1 {moment}.{at % 1_000_000:06}Z {host} "
        f"hanse {_header(origin.process, 128)} {what.kind} [{_ID}{data}] "
    )
    body = _safe(text)
    # RFC 5424 §6.4: text that isn't ASCII says by this mark that it is UTF-8.
    mark = "" if body.isascii() else "\ufeff"
    return f"{head}{mark}{body}".encode()


def _value(text: str) -> str:
    """Escape what would end a value (RFC 5424 §6.3.3)."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], _safe(text))


def _safe(text: str) -> str:
    """Show what a viewer could obey as its code, and cut what is too long."""
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _header(text: str, longest: int) -> str:
    return _NAME.sub("?", text)[:longest] or "-"
