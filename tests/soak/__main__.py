"""python -m tests.soak [NAMES] [--minutes 60] [--draw FOLDER] [--json FILE]

Runs for long and samples what must stay flat; each soak gets the minutes for itself.  Ends with
status 1 if something grows, or a soak breaks.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from tests.soak.drawing import draw
from tests.soak.harness import Run, Soak, Verdict, judge, registered


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="all, if left out")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--draw", type=Path, help="write a picture of each soak into this folder")
    parser.add_argument("--json", type=Path, help="write samples and verdicts into this file")
    given = parser.parse_args(arguments)
    known = registered()
    unknown = sorted(set(given.names) - set(known))
    if unknown:
        parser.error(f"there is no soak {unknown[0]}; there are: {', '.join(known)}")
    console = Console()
    flat, documents = True, []
    for name in given.names or known:
        console.print(f"[bold]{known[name].title}[/], {given.minutes:g} minutes")
        with tempfile.TemporaryDirectory(prefix="hanse-soak-", dir="/var/tmp") as folder:
            run = _run(known[name], Path(folder), given.minutes * 60, console)
        verdicts = judge(run)
        flat = flat and all(each.flat for each in verdicts)
        _print(console, run, verdicts)
        if given.draw:
            console.print(f"drawn: {draw(name, run, given.draw)}")
        documents.append(
            {
                "name": name,
                "seconds": run.seconds,
                "load": run.load,
                "times": run.times,
                "values": run.values,
                "verdicts": [asdict(each) | {"flat": each.flat} for each in verdicts],
            }
        )
    if given.json:
        given.json.write_bytes(orjson.dumps(documents, option=orjson.OPT_INDENT_2))
    return 0 if flat else 1


def _run(soak: Soak, folder: Path, seconds: float, console: Console) -> Run:
    run = Run(
        folder, seconds, soak.limits, say=lambda text: console.print(f"  {text}", markup=False)
    )
    soak.function(run)
    return run


def _print(console: Console, run: Run, verdicts: Sequence[Verdict]) -> None:
    table = Table("figure", "first", "median", "last", "most", "trend", "allowed", "")
    for column in table.columns[1:7]:
        column.justify = "right"
    for each in verdicts:
        table.add_row(
            f"{each.name}, {each.unit}" if each.unit else each.name,
            *(f"{value:,.1f}" for value in (each.first, each.median, each.last, each.most)),
            f"{each.growth:+,.1f}",
            f"{each.allowed:,.1f}",
            "[green]flat[/]" if each.flat else "[red]grows[/]",
        )
    console.print(table)
    carried = ", ".join(f"{amount:,.0f} {name}" for name, amount in run.load.items())
    console.print(f"carried: {carried}")


if __name__ == "__main__":
    sys.exit(main())
