"""Draws a section: bars, ours in a colour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers import OURS

#: What the bars of a panel are called, and how long they are.
Bars = Mapping[str, float]


def plot(panels: Mapping[str, Bars], unit: str, file: Path) -> None:
    """Write an SVG; nothing where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        print(f"matplotlib is missing: no {file}")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), squeeze=False, figsize=(4 * len(panels), 3.5))
    for panel, (title, bars) in zip(axes[0], panels.items(), strict=True):
        names = list(bars)[::-1]
        colours = ["tab:orange" if name == OURS else "tab:gray" for name in names]
        panel.barh(names, [bars[name] for name in names], color=colours)
        panel.set_title(title)
        panel.set_xlabel(unit)
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)
