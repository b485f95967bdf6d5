"""Pages of audit records: what is read a thousand times a second costs a row for all of them.

A page holds the lines (shared.store.chain) of records that follow each other, compressed, and of
each one's hash the first digits, so that a changed one is found to the record.  It is found by
text, tenant and object through words of its own, and its records are then looked at one by one.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from shared.ids import Key
from shared.store.chain import MARK, Tip, row_of
from shared.store.contract import AuditRecord, Link
from shared.store.mapping import audit_record_of, dump, microseconds

MOST: Final = 1000
"""Records in a page."""
_LONG: Final = 512 * 1024
"""Bytes of lines after which a page ends; a tsvector of its words ends at 1 MiB."""
_LARGEST: Final = 64 * 1024 * 1024
"""Bytes that a page may unpack to."""


def make_pages(
    tip: Tip, first: int, records: Sequence[AuditRecord], now: datetime
) -> tuple[list[tuple[dict[str, Any], Sequence[AuditRecord]]], Tip]:
    """Return the rows of pages with the records of each, and where the chain ends then."""
    made: list[tuple[dict[str, Any], Sequence[AuditRecord]]] = []
    start = 0
    while start < len(records):
        row, tip, end = _page(tip, first, records, start, now)
        made.append((row, records[start:end]))
        start = end
    return made, tip


def _page(
    tip: Tip, first: int, records: Sequence[AuditRecord], start: int, now: datetime
) -> tuple[dict[str, Any], Tip, int]:
    chain, position, digest, at = tip.chain, tip.position, tip.digest, start
    lines: list[bytes] = []
    marks: list[str] = []
    size = 0
    dumps, sha256 = orjson.dumps, hashlib.sha256
    for record in records[start : start + MOST]:
        position += 1
        key = record.key
        kind, tenant, scope, name = key or _NO_KEY
        seconds = record.seconds
        # As line_of() has it: this is its fast way.
        line = dumps(
            (
                first + at,
                chain,
                position,
                microseconds(record.at),
                record.request_id,
                record.identity,
                record.action,
                record.outcome,
                record.tenant,
                kind,
                tenant,
                scope,
                name,
                record.source_address,
                dump(record.diff) if record.diff else "{}",
                record.reason,
                record.revision,
                record.trace_id,
                record.authority,
                record.credential,
                None if seconds is None else round(seconds * 1e6),
            )
        )
        digest = sha256(digest + line).digest()
        lines.append(line)
        marks.append(digest[: MARK // 2].hex())
        at += 1
        size += len(line)
        if size >= _LONG:
            break
    row = {
        "first": first + start,
        "last": first + at - 1,
        "chain": chain,
        "position": tip.position + 1,
        "hash": digest.hex(),
        "marks": "".join(marks),
        "body": base64.b64encode(zlib.compress(b"\n".join(lines), 1)).decode("ascii"),
    }
    return row, Tip(chain, position, digest, now), at


def lines_in(body: str) -> list[bytes]:
    """Return a page's lines; ValueError if it is none."""
    try:
        unpacker = zlib.decompressobj()
        lines = unpacker.decompress(base64.b64decode(body, validate=True), _LARGEST)
        if unpacker.unconsumed_tail or not unpacker.eof or unpacker.unused_data:
            raise ValueError("a page of the audit trail ends elsewhere than it should")
    except (zlib.error, binascii.Error) as exc:
        raise ValueError("a page of the audit trail can't be unpacked") from exc
    return lines.split(b"\n")


def records_in(body: str) -> Iterator[tuple[int, AuditRecord]]:
    """Yield a page's records with their numbers, latest first; ValueError."""
    for line in reversed(lines_in(body)):
        yield audit_record_of(row_of(line))


def links_in(page: Mapping[str, Any]) -> Iterator[Link]:
    """Yield a page's links in order: what can't be read has no line."""
    first, last, marks = page["first"], page["last"], page["marks"]
    try:
        lines: list[bytes | None] = [*lines_in(page["body"])]
    except ValueError:
        lines = []
    count = max(1, min(last - first + 1, MOST))
    if len(lines) != count or len(marks) != count * MARK:
        yield Link(first, page["chain"], page["position"], page["hash"], None, last)
        return
    for index, line in enumerate(lines):
        mark = marks[index * MARK : (index + 1) * MARK]
        if index == count - 1 and page["hash"][:MARK] == mark:
            mark = page["hash"]
        yield Link(first + index, page["chain"], page["position"] + index, mark, line)


_NO_KEY: Final = Key(*(None,) * 4)  # type: ignore[arg-type]  # only unpacked
