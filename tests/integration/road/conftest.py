from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fixtures_directory import slapd
from tests.integration.fsm.conftest import stopped, template
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import RoadSite, declare, joined

__all__ = ["slapd", "stopped", "template"]


@pytest.fixture
async def fsm(stopped: FSM) -> AsyncIterator[FSM]:
    """A running FSM that declares the site sfo, network A and the mandatory policy p."""
    async with stopped.serving():
        await declare(stopped.admin())
        yield stopped


@pytest.fixture
async def site(fsm: FSM, tmp_path: Path) -> AsyncIterator[RoadSite]:
    """The running SDSP of sfo, which knows the policy."""
    async with joined(tmp_path, fsm) as found, found.serving():
        await found.until(lambda status: bool(status["policies"]))
        yield found
