"""An FSM of its own process for benchmarks: `python -m tests.bench.fsm_server FOLDER [--plain]`.

It is the product's own composition on the product's own loop; `--plain` alone is for measurements.
Prints its port when it serves, and ends when it is told to.
"""

import argparse
import asyncio
import logging
import random
import sys
from pathlib import Path

from fsm.app import running
from fsm.settings import FSMSettings, Listen
from shared.clock import SystemClock
from shared.http.rates import UNLIMITED
from shared.tasks.log import configure_logging
from shared.tasks.program import run_program

LISTEN = Listen(port=0, per_address=5000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="prepared as `hanse fsm init` does")
    parser.add_argument("--plain", action="store_true", help="no TLS")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    # The access log goes where the program's output goes; here nobody reads it.
    configure_logging(level=logging.WARNING)
    # What is measured is the server, not its patience; counting costs the same.
    settings = FSMSettings(listen=LISTEN.model_copy(update={"port": given.port}), rates=UNLIMITED)

    async def serve(stop: asyncio.Event) -> None:
        async with running(
            settings,
            given.folder,
            clock=SystemClock(),
            source=random.Random(1),
            plain=given.plain,
        ) as federation:
            sys.stdout.write(f"{federation.server.port}\n")
            sys.stdout.flush()
            await stop.wait()

    run_program(serve)


if __name__ == "__main__":
    main()
