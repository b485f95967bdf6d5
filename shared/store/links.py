"""Queries over the audit trail's chains: their links, their heads, the seals over them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.store.chain import line_of
from shared.store.contract import Head, Link, SealText
from shared.store.pages import links_in
from shared.store.tables import audit, chains, pages, seals


async def heads_of(connection: AsyncConnection) -> list[Head]:
    """Return where each chain ends, by chain."""
    rows = await connection.execute(select(chains).order_by(chains.c.chain))
    return [Head(row.chain, row.position, row.hash, row.number, row.sealed) for row in rows]


async def last_seal(connection: AsyncConnection) -> SealText | None:
    query = select(seals).order_by(seals.c.sequence.desc()).limit(1)
    row = (await connection.execute(query)).mappings().first()
    return SealText(**row) if row else None


async def seals_after(connection: AsyncConnection, after: int, limit: int) -> list[SealText]:
    query = select(seals).where(seals.c.sequence > after).order_by(seals.c.sequence).limit(limit)
    return [SealText(**row) for row in (await connection.execute(query)).mappings()]


async def last_unchained(connection: AsyncConnection) -> int:
    """Return the number of the last record that is in no chain; 0 if all are."""
    query = select(func.max(audit.c.number)).where(audit.c.chain.is_(None))
    return (await connection.execute(query)).scalar() or 0


async def links_after(connection: AsyncConnection, after: int, limit: int) -> list[Link]:
    """Return about `limit` links in the order of numbers, from the one behind `after`.

    Pages come whole, so that it may be a few more.
    """
    query = select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(limit)
    rows = [_link(dict(row)) for row in (await connection.execute(query)).mappings()]
    end = rows[-1].number if len(rows) == limit else None
    # So many that they hold `limit` records, unless they are small.
    most = max(1, limit // 20)
    some = select(pages).where(pages.c.first > after).order_by(pages.c.first).limit(most)
    if end is not None:
        some = some.where(pages.c.first < end)
    found = [dict(row) for row in (await connection.execute(some)).mappings()]
    links = [link for page in found for link in links_in(page)]
    if len(found) == most:
        # There may be more pages before the last of the rows.
        rows = [row for row in rows if row.number <= found[-1]["last"]]
    return sorted([*rows, *links], key=lambda link: link.number)


def _link(row: Mapping[str, Any]) -> Link:
    if row["chain"] is None:
        return Link(row["number"], None, None, row["hash"], line_of(row))
    return Link(row["number"], row["chain"], row["position"], row["hash"], line_of(row))
