"""The audit trail's words: what is indexed of a record, and how it is searched.

A text is cut into words here, the same way for every database, so that `web-1.example` finds the
same records on all of them: words are runs of letters and digits in lower case.  Each term of a
query (what stands between spaces) must occur, its words side by side.
"""

import logging
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Select, TextClause, and_, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.ids import Key
from shared.store.contract import AuditRecord
from shared.store.engine import Dialect
from shared.store.mapping import audit_record_of
from shared.store.pages import records_in
from shared.store.tables import audit, pages

log = logging.getLogger(__name__)

_AT_ONCE: Final = 4
"""Pages read together."""
_NO_END: Final = 2**63 - 1

_WORD: Final = re.compile(r"[^\W_]+")
_ID: Final = re.compile(r"[0-9a-z]{1,64}")
_WORD_LENGTH: Final = 200
"""PostgreSQL takes words of at most 2 KiB."""
_WORDS_OF_RECORD: Final = 20_000
"""Of one record; a tsvector ends at 1 MiB."""
_TEXT: Final = 800_000
"""Bytes of all words together; the same end."""
_TERMS: Final = 20
"""Of one query."""


def words_of(record: AuditRecord) -> str:
    """Return the words by which a record is found, with spaces between."""
    parts = _texts(
        [
            *(record.identity, record.action, record.outcome, record.tenant, record.key),
            *(record.source_address, record.reason, record.request_id, record.trace_id),
            *(record.authority, record.credential),
            record.diff,
        ]
    )
    # A line's end belongs to no word, so that all parts can be cut at once.
    words = _words("\n".join(parts))
    return _bounded(words[:_WORDS_OF_RECORD])


def words_of_page(records: Sequence[AuditRecord]) -> str:
    """Return the words by which a page is found, each once; what it is of has words of its own."""
    texts: set[str | None] = set()
    add = texts.add
    for record in records:
        add(record.identity)
        add(record.action)
        add(record.outcome)
        add(record.source_address)
        add(record.reason)
        add(record.authority)
        add(record.credential)
        if record.key is not None:
            texts.update(record.key)
    tenants = {record.tenant for record in records if record.tenant is not None}
    keys = {record.key for record in records if record.key is not None}
    parts = [*filter(None, texts), *tenants]
    for record in records:
        if record.diff:
            parts += _texts(record.diff)
    words = {*_words("\n".join(parts))}
    # Most are one word already, and there are two for each record.
    for each in (*(one.request_id for one in records), *(one.trace_id for one in records)):
        if each:
            words.update((each,) if _ID.fullmatch(each) else _words(each))
    places = [*map(_tenant_word, tenants), *map(_key_word, keys)]
    return _bounded([*places, *words])


def page_words(body: str) -> str:
    """Return the words of a page that is there; of one that can't be read, none."""
    try:
        return words_of_page([record for _, record in records_in(body)])
    except (ValueError, KeyError, TypeError):
        return ""


def _tenant_word(tenant: str) -> str:
    return _place_word("t", tenant)


def _key_word(key: Key) -> str:
    return _place_word("k", "\n".join(key))


def _place_word(what: str, text: str) -> str:
    # Two that share one only cost a look into a page too many.
    return f"{what}{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


def _bounded(words: Sequence[str]) -> str:
    text = " ".join(words)
    if len(text) <= _TEXT // 4 or len(text.encode()) <= _TEXT:
        return text
    kept = text.encode()[:_TEXT].decode("utf-8", "ignore")
    return kept[: kept.rfind(" ")]


def insert_words(dialect: Dialect) -> TextClause:
    if dialect is Dialect.SQLITE:
        return text("INSERT INTO audit_words (rowid, words) VALUES (:number, :words)")
    return text(
        "INSERT INTO audit_words (number, words) VALUES (:number, to_tsvector('simple', :words))"
    )


def delete_words(dialect: Dialect) -> TextClause:
    """Return what forgets a record's words; SQLite must be told them again."""
    if dialect is Dialect.SQLITE:
        return text(
            "INSERT INTO audit_words (audit_words, rowid, words) VALUES ('delete', :number, :words)"
        )
    return text("DELETE FROM audit_words WHERE number = :number")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are asked for; see contract.Store.audit_records."""

    tenants: frozenset[str] | None
    key: Key | None
    words: str | None
    committed: bool
    without: frozenset[str]
    before: int | None
    limit: int


def audit_query(dialect: Dialect, wanted: Wanted) -> Select[Any]:
    """Select the records in rows of their own that satisfy every term given, latest first."""
    query = select(audit).order_by(audit.c.number.desc()).limit(wanted.limit)
    if wanted.tenants is not None:
        query = query.where(audit.c.tenant.in_(sorted(wanted.tenants)))
    if wanted.key is not None:
        names = zip(("kind", "object_tenant", "scope", "name"), wanted.key, strict=True)
        query = query.where(*(audit.c[name] == part for name, part in names))
    if wanted.committed:
        query = query.where(_COMMITTED)
    if wanted.without:
        query = query.where(audit.c.action.not_in(sorted(wanted.without)))
    if wanted.before is not None:
        query = query.where(audit.c.number < wanted.before)
    if terms := terms_of(wanted.words):
        query = query.where(_found(dialect, terms))
    return query


# A row of its own has what was committed with its record.  Before there were pages, and with them
# chains, reads and refusals had rows, too.
_COMMITTED: Final = or_(
    audit.c.chain.is_not(None),
    and_(
        audit.c.outcome.in_(("ok", "applied", "partly refused")),
        audit.c.action.not_in(("get", "list", "history", "watch", "login")),
    ),
)


async def find_records(
    connection: AsyncConnection, dialect: Dialect, wanted: Wanted
) -> list[tuple[int, AuditRecord]]:
    """Return the records that satisfy every term given, latest first, rows and pages merged."""
    rows = await connection.execute(audit_query(dialect, wanted))
    found = [audit_record_of(dict(row)) for row in rows.mappings()]
    if wanted.committed:
        return found
    floor = found[-1][0] if len(found) == wanted.limit else 0
    found += await _in_pages(connection, dialect, wanted, floor)
    return sorted(found, key=itemgetter(0), reverse=True)[: wanted.limit]


async def _in_pages(
    connection: AsyncConnection, dialect: Dialect, wanted: Wanted, floor: int
) -> list[tuple[int, AuditRecord]]:
    """Return the latest records of pages, above a number."""
    found: list[tuple[int, AuditRecord]] = []
    if wanted.tenants is not None and not wanted.tenants:
        return found
    terms = terms_of(wanted.words)
    phrases = [f" {' '.join(term)} " for term in terms]
    before = wanted.before if wanted.before is not None else _NO_END
    query = select(pages.c.first, pages.c.body).order_by(pages.c.first.desc()).limit(_AT_ONCE)
    if (words := _candidates(dialect, wanted, terms)) is not None:
        query = query.where(words)
    below = before
    while len(found) < wanted.limit:
        rows = (
            await connection.execute(query.where(pages.c.first < below, pages.c.last > floor))
        ).all()
        for row in rows:
            for number, record in _read(row.body):
                if floor < number < before and _satisfies(record, wanted, phrases):
                    found.append((number, record))
                    if len(found) == wanted.limit:
                        return found
        if len(rows) < _AT_ONCE:
            break
        below = rows[-1].first
    return found


def _read(body: str) -> Iterator[tuple[int, AuditRecord]]:
    try:
        yield from records_in(body)
    except (ValueError, KeyError, TypeError):
        # Somebody has been at it; `audit verify` says where, and the others are there to be seen.
        log.warning("a page of the audit trail can't be read; run: hanse audit verify")


def _satisfies(record: AuditRecord, wanted: Wanted, phrases: Sequence[str]) -> bool:
    if wanted.tenants is not None and record.tenant not in wanted.tenants:
        return False
    if wanted.key is not None and record.key != wanted.key:
        return False
    if record.action in wanted.without:
        return False
    if not phrases:
        return True
    words = f" {words_of(record)} "
    return all(phrase in words for phrase in phrases)


def _candidates(dialect: Dialect, wanted: Wanted, terms: list[list[str]]) -> TextClause | None:
    """Return what selects the pages in which there may be such a record; None: any."""
    every = [[word] for word in dict.fromkeys(chain.from_iterable(terms))]
    if wanted.tenants is not None:
        every.append([*map(_tenant_word, sorted(wanted.tenants))])
    if wanted.key is not None:
        every.append([_key_word(wanted.key)])
    if not every:
        return None
    if dialect is Dialect.SQLITE:
        phrases = " AND ".join(
            "(" + " OR ".join(f'"{word}"' for word in each) + ")" for each in every
        )
        matching = "SELECT rowid FROM audit_words WHERE audit_words MATCH :page_phrases"
    else:
        phrases = " & ".join("(" + " | ".join(each) + ")" for each in every)
        matching = (
            "SELECT number FROM audit_words WHERE words @@ to_tsquery('simple', :page_phrases)"
        )
    return text(f"pages.first IN ({matching})").bindparams(page_phrases=phrases)


def terms_of(words: str | None) -> list[list[str]]:
    """Return what a query's text asks for: of each term its words, which stand side by side."""
    terms = [_words(term) for term in (words or "").split()[:_TERMS]]
    return [term for term in terms if term]


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
