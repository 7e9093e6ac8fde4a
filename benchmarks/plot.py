"""Draws a section: a panel for each group, a bar for each peer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.peers import OURS


def plot(title: str, groups: Mapping[str, Sequence[Row]], file: Path) -> None:
    """Write an SVG; nothing where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        print(f"matplotlib is missing: no {file}")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(groups), squeeze=False, figsize=(4 * len(groups), 3.5))
    for panel, (name, rows) in zip(panels[0], groups.items(), strict=True):
        shown = rows[::-1]
        colours = ["tab:orange" if row.peer == OURS else "tab:gray" for row in shown]
        panel.barh(
            [row.peer for row in shown], [row.items_per_second for row in shown], color=colours
        )
        panel.set_title(f"{title}: {name}")
        panel.set_xlabel("items/s")
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)
