"""The README's section "By hand", as commands and the host that each is for."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECTION = "By hand"

_HOST = re.compile(r"\*\*On the (\w+)'s host\*\*")
_INDENT = "    "


@dataclass(frozen=True)
class Line:
    """One line of a code block: who types it, and what."""

    host: str
    text: str

    def arguments(self, replaced: Mapping[str, str]) -> list[str]:
        """Return what follows `hanse`, with each text replaced by what stands for it here."""
        text = self.text
        for old, new in replaced.items():
            text = text.replace(old, new)
        program, *arguments = shlex.split(text)
        assert program == "hanse", f"the README tells to run something else: {self.text}"
        return arguments


def read_lines(readme: Path = ROOT / "README.md") -> list[Line]:
    """Return every command of the section, in its order."""
    section = re.split(r"^## ", readme.read_text(), flags=re.MULTILINE)
    (text,) = [each for each in section if each.startswith(SECTION)]
    lines: list[Line] = []
    host = ""
    for line in text.splitlines():
        if named := _HOST.search(line):
            host = named[1]
        if line.startswith(_INDENT):
            assert host, f"the README doesn't say on which host: {line}"
            lines.append(Line(host, line.strip()))
    return lines
