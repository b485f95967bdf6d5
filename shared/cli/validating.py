"""`hanse validate`: every fault at once."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from shared.cli.asking import moment
from shared.cli.checking import Report, check_repository
from shared.cli.gitops import markdown as md
from shared.cli.gitops.annotations import prefix_of, print_annotations
from shared.cli.gitops.junit import Case, Problem, Suite, write_suites
from shared.cli.gitops.manifest import FILE, find_manifest
from shared.cli.gitops.reports import NO_REPORTS, Reports
from shared.cli.gitops.summaries import validate_summary
from shared.cli.output import Plain, console, fault_json, print_data, print_faults
from shared.cli.repository import read_repository
from shared.errors import FieldError, Invalid


def run_validate(repo: Path, *, strict: bool, form: Plain, reports: Reports = NO_REPORTS) -> int:
    """Print the faults of a repository; return the exit status."""
    files: Sequence[str] = ()
    try:
        repository = read_repository(repo)
        files = sorted({parsed.file for parsed in repository.parsed.values() if parsed.file})
        report = check_repository(repository, now=moment(None))
        report = Report((*_manifest_faults(repo), *report.errors), report.warnings)
    except Invalid as exc:  # it can't be read at all; who asked for JSON gets it all the same
        report = Report((FieldError("", exc.code, exc.message),), ())
    _write(report, files, reports, repo, strict=strict)
    if form is Plain.TABLE:
        _print(report)
    else:
        errors = [fault_json(each) for each in report.errors]
        warnings = [fault_json(each) for each in report.warnings]
        print_data({"errors": errors, "warnings": warnings}, form)
    if report.errors:
        return 2
    return 1 if strict and report.warnings else 0


def _manifest_faults(repo: Path) -> Iterator[FieldError]:
    """Yield what is wrong with the repository's hanse.yaml, if it has one."""
    if not (repo / FILE).is_file():
        return
    try:
        find_manifest(repo, named=None)
    except Invalid as exc:
        for each in exc.fields:
            yield replace(each, file=FILE)


def _write(
    report: Report, files: Sequence[str], reports: Reports, repo: Path, *, strict: bool
) -> None:
    if reports.junit is not None:
        write_suites([Suite("validate", list(_cases(report, files, strict=strict)))], reports.junit)
    if reports.markdown is not None:
        md.write(reports.markdown, validate_summary(report.errors, report.warnings))
    if reports.annotate:
        prefix = prefix_of(repo)
        print_annotations(report.errors, level="error", prefix=prefix)
        print_annotations(report.warnings, level="warning", prefix=prefix)


def _cases(report: Report, files: Sequence[str], *, strict: bool) -> Iterator[Case]:
    """Yield a case for each sound file and for each fault; with `strict` a warning is one too."""
    counted = [*report.errors, *(report.warnings if strict else ())]
    faulty = {each.file for each in counted}
    for file in files:
        if file not in faulty:
            yield Case("validate", file, file, None)
    for each in counted:
        name = f"{each.file or 'the repository'}:{each.line or ''} {each.path}".rstrip(" :")
        problem = Problem("failure", each.message, str(each), each.code)
        yield Case("validate", name, each.file, each.line, problem)


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
