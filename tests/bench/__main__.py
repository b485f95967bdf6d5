"""python -m tests.bench [NAMES] [--quick] [--json FILE] [--draw FOLDER] [--folder DIR]

Measures Hanse beside its peers and prints a table.  Without NAMES everything is measured.  A peer
that is missing, or a benchmark that breaks, is a failure and ends with status 1; a goal that is
missed is shown, but is none.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from tests.bench.drawing import draw
from tests.bench.harness import Benchmark, Outcome, Run, measure, registered
from tests.bench.machine import filesystem_of, machine, unrest
from tests.bench.table import print_outcomes

FORMAT = "hanse-bench/1"


def run_all(chosen: Iterable[Benchmark], *, folder: Path, quick: bool) -> list[Outcome]:
    """Measure one after another, each in an empty folder that is removed after it."""
    outcomes = []
    for bench in chosen:
        sys.stderr.write(f"{bench.title}\n")
        own = folder / bench.name
        own.mkdir()
        outcomes.append(measure(bench, Run(own, quick, _say)))
        shutil.rmtree(own, ignore_errors=True)
    return outcomes


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")


def report(described: dict[str, Any], outcomes: Sequence[Outcome], *, quick: bool) -> bytes:
    """Return the JSON document of a whole run."""
    return orjson.dumps(
        {
            "format": FORMAT,
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": quick,
            "machine": described,
            "warning": unrest(described),
            "benchmarks": [each.as_json() for each in outcomes],
        },
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="benchmarks to run; all without")
    parser.add_argument("--list", action="store_true", help="show the benchmarks and end")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="write growth pictures there")
    parser.add_argument("--folder", type=Path, help="for databases; on a real disk")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _arguments(arguments)
    # Into a file or a CI log, the table is as wide as it needs.
    console = Console(width=None if sys.stdout.isatty() else 130)
    known = registered()
    if options.list:
        for bench in known.values():
            console.print(f"{bench.name:<16}{bench.title}", highlight=False)
        return 0
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        sys.stderr.write(f"no benchmark is called {unknown[0]}; there are {', '.join(known)}\n")
        return 2
    described = machine()
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hanse-bench-", dir=options.folder) as name:
        folder = Path(name)
        described["file_system"] = filesystem_of(folder)
        if described["file_system"] == "tmpfs":
            sys.stderr.write("a tmpfs has no disk to wait for: give --folder on a real one\n")
            return 2
        chosen = [known[each] for each in options.names] or list(known.values())
        outcomes = run_all(chosen, folder=folder, quick=options.quick)
    print_outcomes(console, described, unrest(described), outcomes)
    if options.quick:
        console.print("Measured with --quick: it shows that they work, not how fast.")
    if options.json:
        options.json.write_bytes(report(described, outcomes, quick=options.quick))
    if options.draw:
        found = [each.results for each in outcomes if each.results]
        for path in draw([each for one in found for each in one.series], options.draw):
            console.print(f"drawn: {path}", highlight=False)
    return 1 if any(each.error for each in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
