"""What an import reports: faults of the input, and gaps, which it left out rather than guess."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.cli.output import Plain, console, print_data, print_table
from shared.errors import FieldError, Invalid


@dataclass(frozen=True, slots=True)
class Gap:
    """Something of the source that Hanse's documents can't say, and that isn't in them.

    `subject` is what it belongs to (a term of a policy, a column), `field` the part of it that
    can't be said.  If `changes_meaning`, what was imported decides some traffic otherwise than
    the source does.
    """

    file: str
    line: int | None
    subject: str
    field: str
    reason: str
    changes_meaning: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "line": self.line,
            "subject": self.subject,
            "field": self.field,
            "reason": self.reason,
            "changesMeaning": self.changes_meaning,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What an import came to: how many documents of which kind, in which files."""

    counts: dict[str, int]
    files: Sequence[str]
    gaps: Sequence[Gap]
    notes: Sequence[str] = ()


def refuse(faults: Sequence[FieldError]) -> None:
    """Raise Invalid (`invalid_source`) with every fault, if there are any."""
    if faults:
        number = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise Invalid(f"{number}; nothing was written", code="invalid_source", fields=faults)


def refuse_gaps(gaps: Sequence[Gap], *, accepted: bool, form: Plain) -> bool:
    """Say whether to go on; if not, print every gap and why nothing was written."""
    changing = [each for each in gaps if each.changes_meaning]
    if accepted or not changing:
        return True
    if form is Plain.TABLE:
        _print_gaps(gaps)
        number = "one" if len(changing) == 1 else str(len(changing))
        console(stderr=True).print(
            f"{number} of these would change what the rest means, so nothing was written; mend "
            "the source, or take it all the same with --accept-gaps",
            soft_wrap=True,
        )
    else:
        print_data({"written": False, **_data(Report({}, (), gaps))}, form)
    return False


def print_report(report: Report, form: Plain) -> None:
    """Print what was written and everything that was left out."""
    if form is not Plain.TABLE:
        print_data({"written": True, **_data(report)}, form)
        return
    for name in report.files:
        print(f"wrote {name}")
    for note in report.notes:
        print(note)
    counts = ", ".join(f"{number} {kind}" for kind, number in report.counts.items())
    print(f"{counts or 'no documents'}; {len(report.gaps)} left out")
    _print_gaps(report.gaps)


def _print_gaps(gaps: Sequence[Gap]) -> None:
    if not gaps:
        return
    rows = [
        [
            f"{each.file}:{each.line}" if each.line else each.file,
            each.subject,
            each.field,
            each.reason + (" (changes what the rest means)" if each.changes_meaning else ""),
        ]
        for each in gaps
    ]
    print_table(("LEFT OUT", "OF", "FIELD", "WHY"), rows)


def _data(report: Report) -> dict[str, Any]:
    return {
        "counts": report.counts,
        "files": list(report.files),
        "gaps": [each.to_json() for each in report.gaps],
        "notes": list(report.notes),
    }
