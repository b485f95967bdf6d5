"""The harness, over benchmarks that take no time."""

from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest
from rich.console import Console

from tests.bench.__main__ import main, report, run_all
from tests.bench.drawing import draw
from tests.bench.harness import (
    Benchmark,
    Goal,
    Measurement,
    Outcome,
    PeerPackage,
    Program,
    Results,
    Run,
    Series,
    registered,
)
from tests.bench.machine import filesystem_of, machine, unrest
from tests.bench.table import print_outcomes

GROWTH = Series("compile", "ours", "rules", "seconds", [(10, 0.1), (100, 1.1)])
FAST = Measurement("rate", 300.0, "1/s", peer=100.0, peer_name="them", goal=Goal(2, "at least"))
SLOW = Measurement("median", 4.0, "ms", goal=Goal(2, "at most", of="figure"))


def _bench(name: str, results: Results | None = None, *, needs: tuple = ()) -> Benchmark:
    def function(run: Run) -> Results:
        (run.folder / "database").write_text("x")
        if results is None:
            raise OSError("the peer went away")
        return results

    return Benchmark(name, f"Title of {name}", needs, function)


def _outcomes(tmp_path: Path) -> list[Outcome]:
    chosen = [
        _bench("good", Results([FAST, SLOW], [GROWTH], notes=["only half was measured"])),
        _bench("broken"),
        _bench("lonely", Results([]), needs=(Program("no-such-program", apt="nothing"),)),
    ]
    return run_all(chosen, folder=tmp_path, quick=True)


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal(3, "at least"), True),
        (Goal(3.1, "at least"), False),
        (Goal(3, "at most"), True),
        (Goal(2.9, "at most"), False),
        (Goal(299, "at least", of="figure"), True),
        (Goal(299, "at most", of="figure"), False),
    ],
)
def test_a_goal_limits_the_ratio_or_the_figure(goal: Goal, reached: bool) -> None:
    assert Measurement("rate", 300.0, "1/s", peer=100.0, goal=goal).reached is reached


def test_a_goal_for_a_ratio_without_a_peer_is_neither_reached_nor_missed() -> None:
    assert Measurement("rate", 300.0, "1/s", goal=Goal(2, "at least")).reached is None


def test_one_benchmark_that_breaks_or_lacks_its_peer_leaves_the_others(tmp_path: Path) -> None:
    good, broken, lonely = _outcomes(tmp_path)
    assert good.error is None
    assert good.results is not None
    assert broken.error == "OSError: the peer went away"
    assert lonely.error == "no-such-program is missing: apt-get install nothing"
    assert not list(tmp_path.iterdir())


def test_a_peer_package_that_is_not_there_is_named() -> None:
    missing = PeerPackage("no-such-distribution").missing()
    assert missing is not None
    assert "no-such-distribution" in missing
    assert "make peers" in missing


def test_the_report_says_ratios_goals_failures_and_the_machine(tmp_path: Path) -> None:
    said = orjson.loads(report(machine(), _outcomes(tmp_path), quick=True))
    assert said["format"] == "hanse-bench/1"
    assert said["machine"]["cores"] >= 1
    good, broken, lonely = said["benchmarks"]
    assert [each["ratio"] for each in good["measurements"]] == [3.0, None]
    assert [each["reached"] for each in good["measurements"]] == [True, False]
    assert good["series"][0]["points"] == [[10, 0.1], [100, 1.1]]
    assert broken["error"]
    assert lonely["measurements"] == []


def test_the_table_shows_ratios_goals_and_what_failed(tmp_path: Path) -> None:
    console = Console(record=True, width=140)
    print_outcomes(console, machine(), "somebody else works here", _outcomes(tmp_path))
    text = console.export_text()
    for word in ("100 them", "≥ 2", "≤ 2 ms", "reached", "missed", "failed", "the peer went away"):
        assert word in text
    assert "good: only half was measured" in text
    assert "somebody else works here" in text


def test_growth_is_drawn_one_file_for_each_drawing(tmp_path: Path) -> None:
    memory = Series("compile", "ours", "rules", "MiB", [(10, 20.0), (100, 30.0)])
    change = Series("one change", "ours", "rules", "ms", [(10, 1.0), (100, 1.1)])
    written = draw([GROWTH, change, memory], tmp_path / "new")
    assert [path.name for path in written] == ["compile.svg", "one-change.svg"]
    assert all(path.read_text().startswith("<?xml") for path in written)


@pytest.mark.parametrize(("load", "quiet"), [(0.2, True), (1.5, False)])
def test_a_busy_machine_is_warned_about(load: float, quiet: bool) -> None:
    assert (unrest({"load_before": [load, 0, 0], "cores": 2}) is None) is quiet


def test_a_folder_is_found_on_its_file_system() -> None:
    assert filesystem_of(Path("/proc/self")) == "proc"


def test_benchmarks_are_found_by_name_and_unknown_names_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "store_writers" in registered()
    assert main(["--list"]) == 0
    assert "store_writers" in capsys.readouterr().out
    assert main(["no_such_benchmark"]) == 2
    assert "no_such_benchmark" in capsys.readouterr().err


def test_databases_are_not_measured_in_memory(capsys: pytest.CaptureFixture[str]) -> None:
    with TemporaryDirectory(dir="/dev/shm") as folder:
        assert main(["--folder", folder]) == 2
    assert "tmpfs" in capsys.readouterr().err
