"""The audit trail's words: what is indexed of a record, and how it is searched.

A text is cut into words here, the same way for every database, so that `web-1.example` finds the
same records on all of them: words are runs of letters and digits in lower case.  Each term of a
query (what stands between spaces) must occur, its words side by side.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Select, TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.ids import Key
from shared.store.contract import AuditRecord
from shared.store.engine import Dialect
from shared.store.mapping import audit_record_of
from shared.store.tables import audit

_WORD: Final = re.compile(r"[^\W_]+")
_WORD_LENGTH: Final = 200
"""PostgreSQL takes words of at most 2 KiB."""
_WORDS_OF_RECORD: Final = 20_000
"""Of one record; a tsvector ends at 1 MiB."""
_TERMS: Final = 20
"""Of one query."""


def words_of(record: AuditRecord) -> str:
    """Return the words by which a record is found, with spaces between."""
    parts = _texts(
        [
            *(record.identity, record.action, record.outcome, record.tenant, record.key),
            *(record.source_address, record.reason, record.request_id, record.trace_id),
            record.diff,
        ]
    )
    # A line's end belongs to no word, so that all parts can be cut at once.
    words = _words("\n".join(parts))
    return " ".join(words[:_WORDS_OF_RECORD])


def insert_words(dialect: Dialect) -> TextClause:
    if dialect is Dialect.SQLITE:
        return text("INSERT INTO audit_words (rowid, words) VALUES (:number, :words)")
    return text(
        "INSERT INTO audit_words (number, words) VALUES (:number, to_tsvector('simple', :words))"
    )


def audit_query(
    dialect: Dialect,
    *,
    tenants: Iterable[str] | None,
    key: Key | None,
    words: str | None,
    before: int | None,
    limit: int,
) -> Select[Any]:
    """Select the records that satisfy every term given, latest first."""
    query = select(audit).order_by(audit.c.number.desc()).limit(limit)
    if tenants is not None:
        query = query.where(audit.c.tenant.in_(sorted(set(tenants))))
    if key is not None:
        names = ("kind", "object_tenant", "scope", "name")
        query = query.where(*(audit.c[name] == part for name, part in zip(names, key, strict=True)))
    if before is not None:
        query = query.where(audit.c.number < before)
    terms = [_words(term) for term in (words or "").split()[:_TERMS]]
    terms = [term for term in terms if term]
    if terms:
        query = query.where(_found(dialect, terms))
    return query


async def find_records(
    connection: AsyncConnection, query: Select[Any]
) -> list[tuple[int, AuditRecord]]:
    rows = await connection.execute(query)
    return [audit_record_of(dict(row)) for row in rows.mappings()]


def _found(dialect: Dialect, terms: list[list[str]]) -> TextClause:
    # Words have no character that is anything but a letter or digit to either syntax.
    if dialect is Dialect.SQLITE:
        phrases = " ".join('"' + " ".join(term) + '"' for term in terms)
        matching = "SELECT rowid FROM audit_words WHERE audit_words MATCH :phrases"
    else:
        phrases = " & ".join("(" + " <-> ".join(term) + ")" for term in terms)
        matching = "SELECT number FROM audit_words WHERE words @@ to_tsquery('simple', :phrases)"
    return text(f"audit.number IN ({matching})").bindparams(phrases=phrases)


def _words(part: str) -> list[str]:
    words = _WORD.findall(part.lower())
    if max(map(len, words), default=0) > _WORD_LENGTH:
        return [word[:_WORD_LENGTH] for word in words]
    return words


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield str(name)
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif value is not None:
        yield str(value)
