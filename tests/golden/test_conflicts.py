"""How conflicts look on a screen, as recorded; look at the difference before re-recording."""

import io
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sdsp.conflicts.deadlines import ConflictSettings, Deadlines
from sdsp.conflicts.impact import impacts_of
from sdsp.conflicts.standing import changes
from sdsp.flows import Past
from shared.cli.answers import Object
from shared.cli.conflicts.case import Case
from shared.cli.conflicts.screen import Screen, show_case, show_list
from shared.cli.repository import read_repository
from shared.model.override import Conflict
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import find_conflicts
from shared.telemetry.recorded import FlowFile

HERE = Path(__file__).parent / "cli"
PAGE = Path(__file__).parents[2] / "shared" / "docs" / "conflicts.md"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FOUND = NOW - timedelta(hours=5)
WIDTHS = (80, 160)


def disputed() -> list[Case]:
    """The conflicts that a site finds in the repository's documents, as it would keep them."""
    planner = SitePlanner(read_repository(HERE / "disputed").inputs("s1", now=NOW))
    return cases_of(find_conflicts(planner), planner)


def cases_of(findings: Sequence[Finding], planner: SitePlanner) -> list[Case]:
    deadlines = Deadlines(ConflictSettings())
    found = changes(findings, (), seen_at=1, now=FOUND, deadlines=deadlines)
    drafts = [each.draft for each in found]
    cases = [case_of(each.key.name, dict(each.spec), planner) for each in drafts]
    return sorted(cases, key=lambda case: case.rank(NOW))


def case_of(name: str, spec: Mapping[str, Any], planner: SitePlanner) -> Case:
    conflict = Conflict.model_validate(spec)
    metadata = {"name": name, "createdAt": FOUND.isoformat(), "updatedAt": FOUND.isoformat()}
    case = Case(Object.of({"kind": "Conflict", "metadata": metadata, "spec": conflict.to_json()}))
    past = Past(FlowFile(HERE / "observed.jsonl").since(None))
    return case.with_impacts(impacts_of(planner, conflict, past, 10))


def screen(width: int) -> tuple[Screen, io.StringIO]:
    """A terminal of that width, without colour."""
    file = io.StringIO()
    to = Console(
        file=file,
        width=width,
        force_terminal=True,
        color_system=None,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    return Screen(to, NOW), file


@pytest.mark.parametrize("width", WIDTHS)
def test_every_type_of_conflict_is_shown_as_recorded(width: int, update_golden: bool) -> None:
    shown, file = screen(width)
    cases = disputed()
    show_list(cases, shown, wide=width > 100)
    for each in cases:
        file.write(f"{'=' * width}\n")
        show_case(each, shown)
    text = "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())
    recorded = HERE / f"conflicts-{width}.txt"
    if update_golden:
        recorded.write_text(text)
    assert text == recorded.read_text()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen_but_commands(width: int) -> None:
    shown, file = screen(width)
    for each in disputed():
        show_case(each, shown)
    show_list(disputed(), shown, wide=width > 100)
    lines = file.getvalue().splitlines()
    assert all(len(each) <= width or each.startswith("    hanse conflicts ") for each in lines)


def test_the_screen_on_the_page_is_a_screen_that_there_is() -> None:
    (screen,) = re.findall(
        r"^```text\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert screen in (HERE / "conflicts-80.txt").read_text()
