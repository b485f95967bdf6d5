"""Every code of an error that stands in the source, found by how it is written there."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[4]
PROGRAMS = ("shared", "fsm", "sdsp", "dsn")

# At which place these take a code; all others take it as `code=`.
_PLACES = {"FieldError": 1, "Finding": 1, "Fault": 2, "PolicyFault": 2, "PydanticCustomError": 0}
# Of readers of text: add(message's place, code, …) and the like, in shared/model only.
_READERS = {"add": 0, "_refuse": 0, "_fault": 1}
# Codes that stand in a table rather than in a call.
_TABLES = {"UNKNOWN", "_HTTP"}


def codes() -> dict[str, set[str]]:
    """Return each code with the modules that give it."""
    trees = {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
        for program in PROGRAMS
        for path in (ROOT / program).rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for name, tree in trees.items():
        constants = dict(_constants(tree))
        for each in _written(tree, name):
            match each:
                case ast.Constant(value=str(code)):
                    found.setdefault(code, set()).add(name)
                case ast.Name(id=constant) if constant in constants:
                    found.setdefault(constants[constant], set()).add(name)
    return found


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        match node:
            case ast.AnnAssign(ast.Name(id=name), value=ast.Constant(value=str(text))):
                yield name, text


def _written(tree: ast.Module, module: str) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        match node:
            case ast.Call():
                yield from _in_call(node, module)
            case ast.AnnAssign(ast.Name(id="default_code"), value=ast.Constant() as code):
                yield code
            case ast.Assign([ast.Name(id="default_code")], value=ast.Constant() as code):
                yield code
            case ast.AnnAssign(ast.Name(id=name), value=ast.Dict() | ast.DictComp() as table) if (
                name in _TABLES
            ):
                yield from _in_table(table)
            case ast.FunctionDef(name="_refusal_of" | "_code"):
                yield from _returned(node)


def _in_call(call: ast.Call, module: str) -> Iterator[ast.expr]:
    yield from (
        part
        for keyword in call.keywords
        if keyword.arg == "code"
        for part in _branches(keyword.value)
    )
    name = ast.unparse(call.func).rpartition(".")[2]
    place = _PLACES.get(name)
    if place is None and module.startswith(("shared/model/", "shared/cli/sources")):
        place = _READERS.get(name)
    if place is not None and len(call.args) > place:
        yield call.args[place]


def _branches(value: ast.expr) -> Iterator[ast.expr]:
    if isinstance(value, ast.IfExp):
        yield from (value.body, value.orelse)
    else:
        yield value


def _in_table(table: ast.Dict | ast.DictComp) -> Iterator[ast.expr]:
    if isinstance(table, ast.Dict):
        for value in table.values:
            if isinstance(value, ast.Tuple):
                yield value.elts[0]
        return
    # f"unknown_{word}" for each word of the mapping that it is made from
    for node in ast.walk(table.generators[0].iter):
        for each in node.values if isinstance(node, ast.Dict) else ():
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield ast.Constant(f"unknown_{each.value}")


def _returned(function: ast.FunctionDef) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            yield from _branches(node.value)
