"""How answers and errors are printed: tables for people, JSON, YAML and names for programs.

Answers go to stdout and all else to stderr.  Colour and progress bars appear on a terminal only.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shared.errors import FieldError, HanseError

# Wide enough that nothing is folded where no terminal says how wide it is.
_PIPE_WIDTH: Final = 10_000


class Output(StrEnum):
    """The form of an answer."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


class Plain(StrEnum):
    """The form of an answer that has neither more columns nor names."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def console(*, stderr: bool = False) -> Console:
    """Return a console on today's stdout or stderr."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    # Without emoji=False, `2001:db8:a::1` would have a picture in it.
    return Console(file=stream, width=width, highlight=False, emoji=False)


def print_json(data: Any) -> None:
    """Print one JSON value, indented."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def print_yaml(data: Any) -> None:
    # Only here, since it brings the models with it.
    from shared.model.documents import dump_yaml

    print(dump_yaml(data), end="")


def print_data(data: Any, form: Output | Plain) -> None:
    """Print data as JSON or YAML."""
    if form == "yaml":
        print_yaml(data)
    else:
        print_json(data)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = ""
) -> None:
    """Print a table of plain text; nothing in it is taken for markup."""
    result = Table(title=escape(title) or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        result.add_column(escape(column), overflow="fold", header_style="bold")
    for row in rows:
        result.add_row(*(escape(str(cell)) for cell in row))
    to = console()
    if to.is_terminal:
        to.print(result)
        return
    with to.capture() as captured:
        to.print(result)
    for line in captured.get().splitlines():
        print(line.rstrip())  # rich fills the last column with spaces


def print_error(error: HanseError) -> None:
    """Print what is wrong, then each fault with its place, to stderr."""
    to = console(stderr=True)
    to.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
    print_faults(error.fields, label=None)


def print_faults(faults: Iterable[FieldError], *, label: str | None) -> None:
    """Print faults to stderr, one a line: file:line, path, sentence, code."""
    to = console(stderr=True)
    style = "yellow" if label == "warning" else "red"
    prefix = f"[{style}]{label}:[/] " if label else ""
    for fault in faults:
        to.print(prefix + escape(str(fault)), soft_wrap=True)


def fault_json(fault: FieldError) -> dict[str, Any]:
    """Return a fault as `hanse validate -o json` shows it."""
    return {
        "file": fault.file,
        "line": fault.line,
        "path": fault.path,
        "code": fault.code,
        "message": fault.message,
    }
