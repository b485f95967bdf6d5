"""The programs of a run: real processes that are killed, stalled and started again."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from shared.failpoints import EXIT_STATUS, VARIABLE

READY_SECONDS = 10.0
"""How long a program may take from its start, after kill -9, until it is ready again."""


_FIRST = asyncio.FIRST_COMPLETED


class Wrong(AssertionError):
    """Something that must hold doesn't."""


class Program:
    """One of FSM, SDSP or agent: `hanse ARGUMENTS` on one host."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, inside: Sequence[str], folder: Path
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [*inside, sys.executable, "-m", "shared.cli", *arguments]
        self._socket = folder / f"{name}.ready"
        self._process: asyncio.subprocess.Process | None = None
        self._ready: socket.socket | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, failpoints: str = "") -> None:
        """Start it; until_ready() waits for it."""
        self._socket.unlink(missing_ok=True)
        self._close()
        self._ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ready.setblocking(False)
        self._ready.bind(str(self._socket))
        environ = {**os.environ, "NOTIFY_SOCKET": str(self._socket), VARIABLE: failpoints}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                start_new_session=True,
            )

    async def until_ready(self) -> float:
        """Wait for its word to systemd; return the seconds that it took.

        Wrong if it ends before, or takes too long.  What it waited for a processor, because this
        machine is busy with other things, doesn't count.
        """
        assert self._process is not None
        assert self._ready is not None
        began = time.monotonic()
        said = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(self._ready, 4096))
        ended = asyncio.ensure_future(self._process.wait())
        took = 0.0
        try:
            while not said.done() and not ended.done() and took < READY_SECONDS:
                await asyncio.wait([said, ended], timeout=0.1, return_when=_FIRST)
                took = time.monotonic() - began - _waited_for_processor(self.pid)
        finally:
            is_ready = said.done()
            for each in (said, ended):
                each.cancel()
            await asyncio.wait([said, ended])
        if not is_ready:
            raise Wrong(f"{self.name} is not ready after {took:.1f} s: {self.tail()}")
        return took

    async def kill(self) -> None:
        """Do kill -9, and see it gone."""
        assert self._process is not None
        self._process.kill()
        status = await self._process.wait()
        if status != -signal.SIGKILL:
            raise Wrong(f"{self.name} had ended by itself, with {status}: {self.tail()}")

    async def until_killed(self, seconds: float) -> bool:
        """Wait until a failpoint has ended it; False if it hasn't by then."""
        assert self._process is not None
        try:
            async with asyncio.timeout(seconds):
                status = await self._process.wait()
        except TimeoutError:
            return False
        if status != EXIT_STATUS:
            raise Wrong(f"{self.name} ended with {status}, not by its failpoint: {self.tail()}")
        return True

    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self) -> None:
        """End it whatever its state; for the end of a run."""
        if self.is_running():
            assert self._process is not None
            self._process.kill()
            await self._process.wait()
        self._close()

    def tail(self) -> str:
        return f"its log {self.log} ends with\n" + self.log.read_text(errors="replace")[-3000:]

    def _close(self) -> None:
        if self._ready is not None:
            self._ready.close()
            self._ready = None


def _waited_for_processor(pid: int) -> float:
    """Return the seconds for which a process's first thread was ready to run and didn't.

    Second field of /proc/PID/schedstat, in nanoseconds (Linux, sched-stats.rst).
    """
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


async def call(
    *arguments: str, inside: Sequence[str], environ: dict[str, str] | None = None, stdin: str = ""
) -> str:
    """Run `hanse ARGUMENTS` to its end and return what it printed; Wrong if it fails."""
    process = await asyncio.create_subprocess_exec(
        *inside,
        *(sys.executable, "-m", "shared.cli", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(environ or {})},
    )
    out, _ = await process.communicate(stdin.encode())
    if process.returncode:
        raise Wrong(f"hanse {' '.join(arguments)} ended with {process.returncode}: {out.decode()}")
    return out.decode()
