"""The programs of the demo: real processes, their logs in files, none left behind."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.errors import Unavailable

HANSE: Final = (sys.executable, "-m", "shared.cli")
_PATIENCE: Final = 15.0


class Programs:
    """Starts programs and ends them, the last one first."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, asyncio.subprocess.Process]] = []

    async def call(
        self,
        *arguments: str,
        given: Mapping[str, str] | None = None,
        stdin: str = "",
        namespace: str | None = None,
    ) -> str:
        """Run `hanse ARGUMENTS` to its end and return what it printed; Unavailable if it fails."""
        process = await asyncio.create_subprocess_exec(
            *_inside(namespace),
            *HANSE,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(given or {})},
            start_new_session=True,
        )
        try:
            out, errors = await process.communicate(stdin.encode())
        finally:
            # Cancelled meanwhile: nothing stays behind that still works on our folder.
            await _end(process)
        if process.returncode:
            said = (errors or out).decode(errors="replace").strip()
            raise Unavailable(f"hanse {arguments[0]} {arguments[1]} failed: {said}")
        return out.decode()

    async def start(
        self, name: str, *arguments: str, namespace: str | None = None, until: str | None = None
    ) -> None:
        """Start `hanse ARGUMENTS`; with `until`, wait until it prints a line that has this.

        A session of its own keeps a terminal's Ctrl-C from it: it is ended in order, by us.
        """
        with (self._logs / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *_inside(namespace),
                *HANSE,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if until else log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append((name, process))
        if until:
            await self._wait_for(name, process, until)

    async def end(self) -> None:
        """End all programs: the last started is told first, and then all are waited for."""
        ending = [process for _, process in reversed(self._running)]
        self._running.clear()
        await asyncio.gather(*map(_end, ending))

    async def _wait_for(self, name: str, process: asyncio.subprocess.Process, text: str) -> None:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_PATIENCE * 2):
                while line := await process.stdout.readline():
                    if text in line.decode(errors="replace"):
                        return
        except TimeoutError:
            pass
        tail = (self._logs / f"{name}.log").read_text(errors="replace")[-2000:]
        raise Unavailable(f"{name} did not come up; its log ends with:\n{tail}")


def _inside(namespace: str | None) -> tuple[str, ...]:
    return ("ip", "netns", "exec", namespace) if namespace else ()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_PATIENCE):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
