"""Type what a page's `console` blocks show, and hold what is printed against what is shown."""

import shlex
import subprocess
from pathlib import Path

import pytest

from shared.cli.main import run
from tests.unit.shared.docs.blocks import as_pattern, blocks

# What a console block may use beside hanse, to copy and change files.
_PROGRAMS = {"cp", "mkdir", "mv", "rm", "sed"}


def type_commands(page: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """Run a page's commands in the current folder, and write the files that it shows.

    Returns how many commands there were.  A `yaml` block whose first line names a file is written
    there before the commands that follow it.
    """
    count, status, unseen = 0, 0, 0
    for block in blocks(page):
        if block.language == "yaml" and (name := block.file()):
            Path(name).write_text(block.text)
        for command, shown in block.commands() if block.language == "console" else ():
            where = f"{page.name}:{block.line}: {command}"
            if command == "echo $?":
                printed, unseen = f"{status}\n", 0
            else:
                assert not unseen, f"{where}: show that the command before fails, by echo $?"
                status = unseen = _run(command)
                captured = capsys.readouterr()
                printed = captured.out + captured.err
            assert as_pattern(shown).fullmatch(printed), f"{where}\n{printed}"
            count += 1
    return count


def _run(command: str) -> int:
    program, *arguments = shlex.split(command)
    if program == "hanse":
        return run(arguments)
    assert program in _PROGRAMS, f"a console block runs something else: {command}"
    return subprocess.run(["sh", "-c", command], check=False).returncode
