"""A site's real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.store.contract import Store
from shared.store.sql import open_store
from tests.fakes.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path / 'sdsp.sqlite'}", clock=clock, create=True)
    try:
        yield opened
    finally:
        await opened.close()
