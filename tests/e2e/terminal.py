"""A terminal in which somebody types what a page shows, and reads what comes."""

import re
import secrets
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Self

from tests.unit.shared.docs.blocks import as_pattern

# What only looks, and is asked again until it shows what it should.
_LOOKS = re.compile(
    r"hanse (status|sites|nodes|trace|resolve|get|held|audit|history|exceptions|"
    r"conflicts (?:list|show)|changerequests (?:list|show))( (?!drop)|$)"
)
PATIENCE = 300.0
"""In seconds; what takes longer on a page is wrong, or the machine far too busy."""


@dataclass(frozen=True)
class Typed:
    """A command, what was shown after it, errors too, and its exit status."""

    command: str
    shown: str
    status: int


class Terminal:
    """One shell for the whole page, so that variables, folders and `$?` go on."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environ),
            text=True,
            start_new_session=True,
        )
        self._lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait()
        # What was left running would hold the pipe open: the page must have ended it.
        self._reader.join()
        assert self._shell.stdout is not None
        self._shell.stdout.close()

    def type(self, command: str) -> Typed:
        """Type a command and return what it shows until it ends."""
        mark = f"end-{secrets.token_hex(8)}"
        assert self._shell.stdin is not None
        # Its status stays in `$?` for the next command, as if nothing had been typed between.
        self._shell.stdin.write(f"{command}\n(s=$?; echo; echo {mark} $s; exit $s)\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        try:
            while not (line := self._lines.get(timeout=PATIENCE)).startswith(mark):
                lines.append(line)
        except Empty:
            raise AssertionError(f"{command} doesn't end; so far:\n{''.join(lines)}") from None
        status = int(line.removeprefix(mark))
        return Typed(command, "".join(lines).removesuffix("\n"), status)

    def follow(self, command: str, expected: str) -> Typed:
        """Type a command that should show something and end with 0.

        What only looks is typed again and again until it does.
        """
        pattern = as_pattern(expected)
        until = time.monotonic() + PATIENCE
        while True:
            typed = self.type(command)
            if typed.status == 0 and pattern.fullmatch(typed.shown):
                return typed
            if not _LOOKS.match(command) or time.monotonic() > until:
                ended = f"{command} (status {typed.status})"
                raise AssertionError(f"{ended}\n{typed.shown}\n--- expected\n{expected}")

    def _read(self) -> None:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            self._lines.put(line)
