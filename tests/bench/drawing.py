"""Pictures of how figures grow with size."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

from tests.bench.harness import Series


def draw(series: Iterable[Series], folder: Path) -> list[Path]:
    """Write one SVG for each drawing into `folder` and return the files.

    Each unit has a panel; axes are logarithmic, so that a straight line with slope one is growth
    in proportion to size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    ordered = sorted(series, key=lambda each: each.drawing)
    for name, group in groupby(ordered, key=lambda each: each.drawing):
        path = folder / f"{name.replace(' ', '-')}.svg"
        _picture(name, list(group), path)
        written.append(path)
    return written


def _picture(name: str, series: list[Series], path: Path) -> None:
    units = list(dict.fromkeys(each.unit for each in series))
    # Not by pyplot, which would look for a screen.
    figure = Figure(figsize=(5.5 * len(units), 4), layout="tight")
    panels = figure.subplots(1, len(units), squeeze=False)
    for unit, panel in zip(units, panels[0], strict=True):
        for each in series:
            if each.unit == unit:
                panel.plot(*zip(*each.points, strict=True), marker="o", label=each.name)
                panel.set_xlabel(each.x_label)
        panel.set(xscale="log", yscale="log", ylabel=unit)
        panel.grid(visible=True, which="both", alpha=0.3)
        panel.legend()
    figure.suptitle(name)
    # Without a date, the same figures give the same file.
    figure.savefig(path, metadata={"Date": None})
