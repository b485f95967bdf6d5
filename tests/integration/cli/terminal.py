"""A command at a terminal, as a person has it."""

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

HANSE = str(Path(sys.executable).parent / "hanse")


class Terminal:
    """A command at a terminal of its own; `say` answers what it asks."""

    def __init__(self, words: list[str], environ: dict[str, str]) -> None:
        self._main, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [HANSE, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environ, close_fds=True
        )
        os.close(theirs)
        self.shown = ""

    def expect(self, text: str) -> None:
        while text not in self.shown:
            ready, _, _ = select.select([self._main], [], [], 60)
            assert ready, f"{text!r} did not come: {self.shown}"
            try:
                self.shown += os.read(self._main, 4096).decode()
            except OSError as exc:  # Linux says so when the other end has gone
                raise AssertionError(f"{text!r} did not come: {self.shown}") from exc

    def say(self, text: str) -> None:
        os.write(self._main, f"{text}\n".encode())

    def interrupt(self) -> None:
        """Press Ctrl-C once the command sleeps over its question.

        CPython hears a signal that comes between its last look for one and the read that follows
        only when a line comes; for a person the second Ctrl-C does.
        """
        stat = Path(f"/proc/{self.process.pid}/stat")
        while (state := stat.read_text().rpartition(")")[2].split()[0]) != "S":
            assert state in "RD", f"it ended: {self.shown}"
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        status = self.process.wait(timeout=60)
        os.close(self._main)
        return status
