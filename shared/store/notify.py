"""PostgreSQL's NOTIFY as a hint that another process has committed.

A hint may be lost, and with it a few milliseconds: so nothing here ever fails or waits long.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from shared.clock import Clock
from shared.store.engine import Database, Dialect
from shared.store.flush import CHANNEL

if TYPE_CHECKING:
    from psycopg import AsyncConnection

RETRY: Final = 5.0
"""Seconds before another connection is tried; a guess."""


class Listener:
    def __init__(self, database: Database, *, heard: Callable[[], None], clock: Clock) -> None:
        """`heard` is called, on the event loop, whenever something was committed."""
        self._database = database
        self._heard = heard
        self._clock = clock
        self._connection: AsyncConnection | None = None
        self._descriptor = -1
        self._retry_at = float("-inf")

    async def listen(self) -> None:
        """Be connected and listening, if the database can notify and can be reached."""
        if self._database.dialect is not Dialect.POSTGRESQL or self._connection is not None:
            return
        if self._clock.monotonic() < self._retry_at:
            return
        import psycopg  # noqa: PLC0415 - of use with PostgreSQL only

        self._retry_at = self._clock.monotonic() + RETRY
        try:
            connection = await psycopg.AsyncConnection.connect(
                **self._database.connect_arguments(), autocommit=True
            )
        except (psycopg.Error, OSError):
            return
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error:
            await connection.close()
            return
        self._connection = connection
        # Kept, for a connection that is lost doesn't know it any more.
        self._descriptor = connection.fileno()
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def close(self) -> None:
        if self._connection is None:
            return
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self._connection.pgconn.finish()
        self._connection = None

    def _read(self) -> None:
        import psycopg  # noqa: PLC0415 - here already

        assert self._connection is not None
        heard = False
        try:
            self._connection.pgconn.consume_input()
            while self._connection.pgconn.notifies() is not None:
                heard = True
        except psycopg.Error:
            self.close()
        if heard:
            self._heard()
