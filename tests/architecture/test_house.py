"""House rules that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("fsm", "sdsp", "dsn", "shared")
FORBIDDEN_NAMES = re.compile(r"(utils|helpers|common|misc|manager|base_.*)\.py")
MODULES = sorted(path for program in PROGRAMS for path in (ROOT / program).rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in MODULES]

# Where a broad except is the point: one bug mustn't stop the others, or reach a client.
BROAD_EXCEPTS = {"shared/tasks/loop.py", "shared/http/problems.py", "shared/cli/main.py"}
# The one place that starts tasks, so that none outlives its owner.
TASK_STARTERS = {"shared/tasks/group.py"}
# The one place that reads the machine's clock.
CLOCKS = {"shared/clock.py"}


def _calls(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_a_module_keeps_the_house_rules(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    tree = ast.parse(path.read_text())
    assert not FORBIDDEN_NAMES.fullmatch(path.name), "name it for what it does"
    if path.name == "__init__.py":
        assert not path.read_text().strip(), "__init__.py files are empty"
    if name not in BROAD_EXCEPTS:
        broad = [
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.ExceptHandler)
            and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        ]
        assert not broad, f"broad except in lines {broad}"
    calls = _calls(tree)
    if name not in CLOCKS:
        assert not calls & {"datetime.now", "time.time", "datetime.utcnow", "time.monotonic"}
    if name not in TASK_STARTERS:
        assert not {call for call in calls if call.endswith(("create_task", "ensure_future"))}


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_a_module_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500, "what does it hide?"
