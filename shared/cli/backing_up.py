"""`hanse fsm|sdsp backup` and `restore`, on the server's own host."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.progress import Progress

from shared.backup.contents import Home
from shared.backup.create import BackupMaker, Made, Wish
from shared.backup.manifest import Manifest
from shared.backup.partial import file_name
from shared.backup.reading import Progress as Report
from shared.backup.restore import Order, Restored, Restorer
from shared.backup.settings import BackupSettings
from shared.cli.output import Plain, console, print_data
from shared.cli.setup import create_folder
from shared.clock import SystemClock
from shared.errors import NotFound

Result = TypeVar("Result")

_SERVE: Final = "hanse {server} serve --data {data}"


def back_up(
    home: Home, settings: BackupSettings, *, to: Path | None, keys: bool, form: Plain
) -> None:
    """Make a backup while the server runs, or stands still, and print what it is."""
    clock = SystemClock()
    if not home.data.is_dir():
        raise NotFound(f"there is no server in {home.data}", code="no_store")
    if to is None:
        to = settings.folder("local", home.data)
        create_folder(to)
    path = to / file_name(home, "", clock.now()) if to.is_dir() else to
    wish = Wish(path=path.absolute(), keys=keys)
    made = _run(
        lambda executor, progress: BackupMaker(home, clock=clock, executor=executor).make(
            wish, progress=progress
        )
    )
    found = _made(made)
    if form is not Plain.TABLE:
        print_data(found, form)
        return
    print(f"{made.path}: {made.manifest.describe()} at revision {found['revision']}")
    print(f"{_size(made.size)}, restored for a trial and found equal")
    if keys:
        print("It holds private keys: keep it as you keep keys.")
    else:
        print("It holds no private keys: without them this server can't be restored alone.")


def restore(home: Home, archive: Path, *, database: str | None, replace: bool, form: Plain) -> None:
    """Stand a server up again and print what it is."""
    order = Order(archive=archive.absolute(), database=database, replace=replace)
    clock = SystemClock()
    restored = _run(
        lambda executor, progress: Restorer(home, clock=clock, executor=executor).restore(
            order, progress=progress
        )
    )
    found = _restored(home, restored)
    if form is not Plain.TABLE:
        print_data(found, form)
        return
    made = restored.manifest.created_at.astimezone(UTC)
    print(
        f"Restored {restored.manifest.describe()} of {made:%Y-%m-%d %H:%M:%S} UTC, revision "
        f"{found['revision']}, into {home.data}."
    )
    if restored.before is not None:
        print(f"What was there is in {restored.before}.")
    if not restored.manifest.keys:
        print("The backup holds no private keys: bring them back before you start the server.")
    print(f"Next: {_SERVE.format(server=home.server, data=home.data)}")


def _made(made: Made) -> dict[str, Any]:
    return {
        "path": str(made.path),
        "size": made.size,
        "verified": True,
        **_told(made.manifest),
    }


def _restored(home: Home, restored: Restored) -> dict[str, Any]:
    return {
        "path": str(home.data),
        **_told(restored.manifest),
        "incarnation": restored.position.incarnation,
        "replaced": str(restored.before) if restored.before else None,
    }


def _told(manifest: Manifest) -> dict[str, Any]:
    store = manifest.store
    return {
        "id": manifest.id,
        "createdAt": manifest.created_at.isoformat(),
        "server": manifest.server,
        "name": manifest.name,
        "keys": manifest.keys,
        "incarnation": store.incarnation,
        "revision": store.revision,
        "digest": store.digest,
        "rows": {name: table.rows for name, table in sorted(store.tables.items())},
    }


def _run(work: Callable[[Executor, Report], Awaitable[Result]]) -> Result:
    with ThreadPoolExecutor(1, "backup") as executor, _progress() as progress:

        async def main() -> Result:
            return await work(executor, progress)

        return asyncio.run(main())


@contextmanager
def _progress() -> Iterator[Report]:
    to = console(stderr=True)
    with Progress(console=to, transient=True, disable=not to.is_terminal) as shown:
        tasks: dict[str, Any] = {}

        def report(doing: str, done: int, total: int) -> None:
            if doing not in tasks:
                tasks[doing] = shown.add_task(doing, total=total)
            shown.update(tasks[doing], completed=done)

        yield report


def _size(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size / 1024:.0f} KiB"
