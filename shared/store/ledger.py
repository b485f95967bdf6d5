"""The audit trail as what it proves; see contract.Ledger."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.ids import Incarnation
from shared.store import links, reading
from shared.store.commit import GroupCommit, Unit
from shared.store.contract import JSON, Head, LedgerView, Link, SealText, Unsealed
from shared.store.engine import Database, Dialect
from shared.store.mapping import audit_record_of
from shared.store.search import delete_words, page_words, words_of
from shared.store.tables import audit, chains, pages, seals
from shared.store.transaction import SqlTransaction

_PAGES: Final = 20
"""Removed at once: their words are worked out anew."""


class SqlLedgerView:
    def __init__(self, connection: AsyncConnection, incarnation: Incarnation, counted: int) -> None:
        self.incarnation = incarnation
        self.counted = counted
        self._connection = connection

    async def links(self, after: int, limit: int) -> Sequence[Link]:
        return await links.links_after(self._connection, after, limit)

    async def heads(self) -> Sequence[Head]:
        return await links.heads_of(self._connection)

    async def seals(self, after: int, limit: int) -> Sequence[SealText]:
        return await links.seals_after(self._connection, after, limit)

    async def records(self, space: str) -> Mapping[str, JSON]:
        return await reading.records_of(self._connection, space)


class SqlLedger:
    def __init__(self, database: Database, writer: GroupCommit) -> None:
        self._database = database
        self._writer = writer

    @asynccontextmanager
    async def view(self) -> AsyncIterator[LedgerView]:
        async with self._database.read() as connection:
            row = await reading.counters(connection)
            yield SqlLedgerView(connection, row["incarnation"], int(row["audit_number"]))

    async def seal(self, make: Callable[[Unsealed], SealText | None]) -> SealText | None:
        async def work(transaction: SqlTransaction) -> SealText | None:
            unsealed = await transaction.unsealed()
            made = make(unsealed)
            if made is not None:
                await transaction.put_seal(made, unsealed.heads)
            return made

        return (await self._writer.run(Unit(work))).result

    async def retire(self, number: int, limit: int) -> int:
        async with self._database.write() as connection:
            await reading.counters(connection, self._database.counter_for_update)
            removed = await self._retire_rows(connection, number, limit)
            removed += await self._retire_pages(connection, number)
            await connection.commit()
        return removed

    async def _retire_rows(self, connection: AsyncConnection, number: int, limit: int) -> int:
        query = select(audit).where(audit.c.number <= number).order_by(audit.c.number).limit(limit)
        rows = [dict(row) for row in (await connection.execute(query)).mappings()]
        if not rows:
            return 0
        last = rows[-1]["number"]
        await self._forget(
            connection, [(row["number"], words_of(audit_record_of(row)[1])) for row in rows]
        )
        await connection.execute(delete(audit).where(audit.c.number <= last))
        return len(rows)

    async def _retire_pages(self, connection: AsyncConnection, number: int) -> int:
        query = select(pages).where(pages.c.last <= number).order_by(pages.c.first).limit(_PAGES)
        rows = [dict(row) for row in (await connection.execute(query)).mappings()]
        if not rows:
            return 0
        await self._forget(connection, [(row["first"], page_words(row["body"])) for row in rows])
        await connection.execute(delete(pages).where(pages.c.last <= rows[-1]["last"]))
        return sum(row["last"] - row["first"] + 1 for row in rows)

    async def _forget(self, connection: AsyncConnection, words: Sequence[tuple[int, str]]) -> None:
        statement = delete_words(self._database.dialect)
        values: list[dict[str, Any]] = [{"number": number, "words": text} for number, text in words]
        if self._database.dialect is not Dialect.SQLITE:
            values = [{"number": number} for number, _ in words]
        await connection.execute(statement, values)

    async def retire_seals(self, before: int, *, ended: Sequence[str]) -> None:
        async with self._database.write() as connection:
            await reading.counters(connection, self._database.counter_for_update)
            await connection.execute(delete(seals).where(seals.c.sequence < before))
            await connection.execute(delete(chains).where(chains.c.chain.in_(ended)))
            await connection.commit()
