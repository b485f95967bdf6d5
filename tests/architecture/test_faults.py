"""Each fault that must be borne has its file of tests, or says why it has none yet."""

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "faults"


def rows() -> dict[str, str]:
    """Return the README's table: by fault, the last cell."""
    lines = (FOLDER / "README.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0]: row[-1] for row in cells[2:]}


def test_each_fault_has_its_file_or_comes_later() -> None:
    named = {found[1] for last in rows().values() if (found := re.search(r"`(.+)`", last))}
    assert named == {file.name for file in FOLDER.glob("test_*.py")}
    without = [fault for fault, last in rows().items() if "`" not in last]
    assert all(rows()[fault].startswith("later: ") for fault in without)


def test_each_file_is_named_after_its_fault_and_says_what_must_hold() -> None:
    for fault, last in rows().items():
        if (found := re.search(r"`test_(.+)\.py`", last)) is None:
            continue
        first, *_ = found[1].split("_")
        assert first in fault.lower().replace("-", " ").split()[0], f"{fault}: {last}"
        tree = ast.parse((FOLDER / f"test_{found[1]}.py").read_text("utf-8"))
        assert ast.get_docstring(tree), f"{last} says nothing of its fault"
