"""Making a backup, and being told to stop."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.backup.contents import Home
from shared.backup.create import BackupMaker, Wish
from shared.clock import SystemClock
from shared.store.sql import open_store
from shared.tasks.group import Group


async def test_a_backup_that_nobody_waits_for_any_more_leaves_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sdsp.sqlite"
    await (await open_store(url, clock=SystemClock(), create=True)).close()
    home = Home(server="sdsp", name="sfo", data=tmp_path, url=url, authorities={}, files={})
    folder = tmp_path / "backups"
    folder.mkdir()
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def progress(_doing: str, _done: int, _total: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()

    with ThreadPoolExecutor(1) as executor:
        maker = BackupMaker(home, clock=SystemClock(), executor=executor)
        async with Group() as group:
            wish = Wish(path=folder / "b.hanse")
            group.start(maker.make(wish, progress=progress), name="backup")
            await begun.wait()
        go_on.set()
    assert list(folder.iterdir()) == []
