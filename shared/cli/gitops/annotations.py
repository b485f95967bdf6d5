"""Faults as GitHub shows them beside the lines of a pull request: workflow commands on stdout."""

from collections.abc import Iterable
from pathlib import Path

from shared.errors import FieldError


def prefix_of(repo: Path) -> str:
    """Return what stands before a repository's own names of files, in the checkout."""
    return "" if str(repo) == "." else f"{repo}/"


def print_annotations(faults: Iterable[FieldError], *, level: str, prefix: str = "") -> None:
    """Print `::error file=…,line=…::…` for each; `prefix` is the repository's own folder."""
    for each in faults:
        place = {"file": f"{prefix}{each.file}" if each.file else None, "line": each.line}
        known = ",".join(
            f"{name}={_property(str(value))}" for name, value in place.items() if value is not None
        )
        path = f"{each.path}: " if each.path else ""
        print(f"::{level} {known}::{_data(f'{path}{each.message} ({each.code})')}")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
