"""Every promise names a proof that exists."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMISES = tomllib.loads((ROOT / "tests/promises.toml").read_text())["promise"]


def _tests_in(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
            names |= {
                f"{node.name}::{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            # A Hypothesis state machine's test case is an assignment in the module.
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _make_targets() -> set[str]:
    lines = (ROOT / "Makefile").read_text().splitlines()
    return {line.split(":")[0] for line in lines if ":" in line and line[:1].isalpha()}


@pytest.mark.parametrize("promise", PROMISES, ids=[each["text"][:60] for each in PROMISES])
def test_a_promise_is_kept_by_something_that_exists(promise: dict[str, object]) -> None:
    proofs = promise["proof"]
    for proof in proofs if isinstance(proofs, list) else [proofs]:
        assert isinstance(proof, str)
        if proof == "open":
            continue
        if proof == "missed":
            assert promise["figure"], "say what was reached"
            assert promise["tried"], "say what was tried"
        elif proof.startswith("make "):
            assert proof.split()[1] in _make_targets(), proof
        else:
            file, _, name = proof.partition("::")
            assert (ROOT / file).is_file(), f"{file} does not exist"
            assert not name or name in _tests_in(ROOT / file), f"{proof} does not exist"
