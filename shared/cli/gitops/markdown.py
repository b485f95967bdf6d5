"""Markdown that GitHub and GitLab render, with nothing in it that a document's text could break.

Whatever comes from documents or servers stands in `<code>`, with all punctuation as numeric
character references: those are text and never structure (CommonMark 0.31, section 2.5), and in
code neither service makes links, mentions or references to issues of it.  Pure but for write().
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

# A comment on GitHub holds 65,536 characters.
MOST: Final = 60_000
_LONGEST_CELL: Final = 400
_PLAIN: Final = frozenset(" -/,")


def code(text: object) -> str:
    """Return any text as inline code that fits into a table's cell."""
    shown = str(text)
    if len(shown) > _LONGEST_CELL:
        shown = f"{shown[: _LONGEST_CELL - 1]}…"
    return f"<code>{''.join(map(_safe, shown))}</code>" if shown else ""


def _safe(character: str) -> str:
    if character.isalnum() or character in _PLAIN:
        return character
    if character in "\n\r\t":
        return " "
    if not character.isprintable():  # control characters, and those that turn writing round
        return "�"
    return f"&#{ord(character)};" if character.isascii() else character


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells are Markdown: counts, words of ours, or code()."""
    lines = [_row(columns), _row(["---"] * len(columns))]
    return "\n".join([*lines, *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def fenced(text: str, language: str = "") -> str:
    """Return a block of code whose fence no line of it can close."""
    lines = ["".join(_visible(each) for each in line) for line in text.split("\n")]
    longest = max((_ticks(line) for line in lines), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def _visible(character: str) -> str:
    return character if character.isprintable() or character == "\t" else "�"


def _ticks(line: str) -> int:
    longest = run = 0
    for character in line:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest


def folded(summary: str, body: str) -> str:
    """Return what opens on a click; `summary` is words of ours or code()."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def page(title: str, blocks: Iterable[str]) -> str:
    """Return a whole summary, cut between blocks where a comment would be full."""
    text = f"## {title}\n"
    left = 0
    for block in blocks:
        if left or len(text) + len(block) > MOST:
            left += 1
            continue
        text += f"\n{block}\n"
    if left:
        text += f"\n… and {left} more parts, which don't fit in here; run the command to see all.\n"
    return text


def write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
