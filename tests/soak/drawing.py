"""A picture of a long run: each figure over time."""

from pathlib import Path

from matplotlib.figure import Figure

from tests.soak.harness import WARM_UP, Run


def draw(name: str, run: Run, folder: Path) -> Path:
    """Write `folder/NAME.svg`, one panel for each figure, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not by pyplot, which would look for a screen.
    figure = Figure(figsize=(8, 2.2 * len(run.values)), layout="tight")
    panels = figure.subplots(len(run.values), 1, squeeze=False)[:, 0]
    minutes = [at / 60 for at in run.times]
    for panel, (label, values) in zip(panels, run.values.items(), strict=True):
        panel.plot(minutes, values, linewidth=1)
        panel.axvspan(0, run.seconds * WARM_UP / 60, alpha=0.1)
        panel.set(ylabel=f"{label} {run.limits[label].unit}".strip(), xlabel="minutes")
        panel.set_ylim(bottom=0)
        panel.grid(visible=True, alpha=0.3)
    path = folder / f"{name}.svg"
    figure.savefig(path)
    return path
