from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.api.harness import Api, running_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """A federation's API over an empty store."""
    async with running_api(tmp_path) as running:
        yield running
