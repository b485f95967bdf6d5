"""What `hanse sdsp serve` does; the other commands need far less of the program."""

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path

from sdsp.app import running
from sdsp.settings import load
from shared.backup.restore import complete_restore
from shared.clock import SystemClock
from shared.tasks.log import configure_logging
from shared.tasks.program import notify_ready, run_program


def serve_site(data: Path, *, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is told where, once it does."""
    complete_restore(data)
    settings = load(data, dict(os.environ))
    configure_logging()

    async def main(stop: asyncio.Event) -> None:
        async with running(
            settings, data, clock=SystemClock(), source=random.SystemRandom()
        ) as site:
            announce(f"site {settings.site}: serving at {site.server.url}")
            notify_ready(site.server.url)
            await stop.wait()

    run_program(main)
