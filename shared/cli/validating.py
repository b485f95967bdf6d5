"""`hanse validate`: every fault at once."""

from pathlib import Path

from shared.cli.asking import moment
from shared.cli.checking import Report, check_repository
from shared.cli.output import Plain, console, fault_json, print_data, print_faults
from shared.cli.repository import read_repository
from shared.errors import FieldError, Invalid


def run_validate(repo: Path, *, strict: bool, form: Plain) -> int:
    """Print the faults of a repository; return the exit status."""
    try:
        report = check_repository(read_repository(repo), now=moment(None))
    except Invalid as exc:  # it can't be read at all; who asked for JSON gets it all the same
        report = Report((FieldError("", exc.code, exc.message),), ())
    if form is Plain.TABLE:
        _print(report)
    else:
        errors = [fault_json(each) for each in report.errors]
        warnings = [fault_json(each) for each in report.warnings]
        print_data({"errors": errors, "warnings": warnings}, form)
    if report.errors:
        return 2
    return 1 if strict and report.warnings else 0


def _print(report: Report) -> None:
    print_faults(report.errors, label="error")
    print_faults(report.warnings, label="warning")
    if report.errors or report.warnings:
        console(stderr=True).print(
            f"{_count(len(report.errors), 'error')}, {_count(len(report.warnings), 'warning')}"
        )
    else:
        console().print("No faults.")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
