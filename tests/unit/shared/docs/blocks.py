"""What stands in fences on a page of the documentation."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.unit.shared.docs.codes import ROOT

DOCS = ROOT / "shared" / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
IDS = [path.relative_to(DOCS).as_posix() for path in PAGES]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = "$ "


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` (from 1) is where its text begins."""

    language: str
    text: str
    line: int

    def commands(self) -> Iterator[tuple[str, str]]:
        """Yield each line after `$ ` with the output that is shown beneath it."""
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output

    def file(self) -> str | None:
        """Return the path in a first line that is a comment with nothing else."""
        named = re.match(r"# (\S+/\S+)\n", self.text)
        return named[1] if named else None


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 2)
        for found in _FENCE.finditer(text)
    ]


def shell_lines(page: Path) -> Iterator[str]:
    """Yield the commands of `sh` blocks, with lines that go on put together."""
    for block in blocks(page):
        if block.language == "sh":
            yield from block.text.replace("\\\n", " ").splitlines()


def as_pattern(output: str) -> re.Pattern[str]:
    """Return what matches an output in which `…` stands for anything: on a line of its own for
    any number of lines, within a line for the rest of a word or more.  Blanks at the ends of
    lines don't count.
    """
    pieces = []
    for line in output.splitlines():
        if line == "…":
            pieces.append(r"(?:.*\n)*?")
        else:
            pieces.append(".*?".join(map(re.escape, line.rstrip().split("…"))) + r" *\n")
    return re.compile("".join(pieces))
