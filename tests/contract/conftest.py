"""Stores for the contract suite: each test runs on SQLite and on PostgreSQL 15."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shared.clock import Clock, SystemClock
from shared.store.contract import Store
from shared.store.sql import open_store
from tests.fixtures_postgres import postgres, postgres_url

__all__ = ["open_again", "postgres", "postgres_url", "store", "store_url"]

Opener = Callable[..., Awaitable[Store]]


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)],
)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where there is no store yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def open_again(store_url: str) -> AsyncIterator[Opener]:
    """A function that opens the store once more, as another process would."""
    async with AsyncExitStack() as stack:

        async def opener(*, clock: Clock | None = None) -> Store:
            store = await open_store(store_url, clock=clock or SystemClock(), create=True)
            stack.push_async_callback(store.close)
            return store

        yield opener


@pytest.fixture
async def store(open_again: Opener) -> Store:
    return await open_again()
