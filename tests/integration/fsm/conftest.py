import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.fsm.harness import FSM, Person, prepare


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> FSM:
    """A prepared FSM to copy: keys, certificates, store, account."""
    return asyncio.run(prepare(tmp_path_factory.mktemp("fsm")))


@pytest.fixture
def stopped(template: FSM, tmp_path: Path) -> FSM:
    """A prepared FSM that isn't running yet."""
    data = tmp_path / "fsm"
    shutil.copytree(template.data, data, symlinks=True)
    return FSM(data, type(template.clock)(), template.settings)


@pytest.fixture
async def fsm(stopped: FSM) -> AsyncIterator[FSM]:
    """A running FSM with the sites sfo and fra, of which none has joined."""
    async with stopped.serving():
        admin = stopped.admin()
        await admin.put("regions", "west", {})
        await admin.put("sites", "sfo", {"region": "west"}, labels={"env": "prod"})
        await admin.put("sites", "fra", {}, labels={"env": "test"})
        yield stopped


@pytest.fixture
def admin(fsm: FSM) -> Person:
    return fsm.admin()
