"""A site's real store, on each database that a site may have."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.store.contract import Store
from shared.store.sql import open_store
from tests.fakes.clock import VirtualClock
from tests.fixtures_postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'sdsp.sqlite'}"


@pytest.fixture
async def store(url: str, clock: VirtualClock) -> AsyncIterator[Store]:
    opened = await open_store(url, clock=clock, create=True)
    try:
        yield opened
    finally:
        await opened.close()
