"""The table that a person reads after the benchmarks."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.bench.harness import Measurement, Outcome

REACHED = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}


def print_outcomes(
    console: Console, machine: dict[str, Any], unrest: str | None, outcomes: Iterable[Outcome]
) -> None:
    console.print(
        f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, "
        f"Python {machine['python']}, load {machine['load_before'][0]}",
        highlight=False,
    )
    table = Table("figure", "ours", "unit", "peer", "ratio", "goal", "", title="Benchmarks")
    table.columns[0].max_width = 70
    for column in table.columns[1:6]:
        column.justify = "right"
        column.no_wrap = True
    table.columns[2].justify = "left"
    notes: list[str] = []
    for outcome in outcomes:
        table.add_section()
        table.add_row(f"[bold]{escape(outcome.benchmark.title)}[/]")
        if outcome.error:
            table.add_row(f"[red]{escape(outcome.error)}[/]", "", "", "", "", "", "[red]failed[/]")
        if outcome.results:
            for each in outcome.results.measurements:
                table.add_row(*_row(each))
            notes += [f"{outcome.benchmark.name}: {note}" for note in outcome.results.notes]
    console.print(table)
    for note in notes:
        console.print(f"· {note}", markup=False, highlight=False)
    if unrest:
        console.print(f"[yellow]{escape(unrest)}[/]")


def _row(each: Measurement) -> tuple[str, ...]:
    peer = f"{number(each.peer)} {each.peer_name}" if each.peer is not None else ""
    goal = ""
    if each.goal:
        goal = f"{each.goal} {each.unit if each.goal.of == 'figure' else ''}".rstrip()
    ratio = f"{each.ratio:.3g}" if each.ratio is not None else ""
    return (
        escape(each.figure),
        number(each.ours),
        escape(each.unit),
        escape(peer),
        ratio,
        goal,
        REACHED[each.reached],
    )


def number(value: float) -> str:
    """Return three significant digits, thousands separated by a comma: 41,300; 0.0123."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
