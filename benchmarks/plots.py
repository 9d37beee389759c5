"""The results as pictures; loads matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.rows import Row

MET, NOT_MET, PLAIN, BAR = "#2a7f62", "#c8553d", "#9aa5ae", "#222222"
PEERS = ("peer_", "pack_loop_")
STYLE = {
    "svg.hashsalt": "runnerstone",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Write a plot of the bars and one of the peers."""
    with mpl.rc_context(STYLE):
        bars = [row for row in rows if row.limit is not None and row.value is not None]
        if bars:
            _save(bars_figure(bars), folder / "bars.svg")
        peers = [row for row in rows if row.name.startswith(PEERS) and row.value is not None]
        if peers:
            _save(peers_figure(peers), folder / "peers.svg")


def bars_figure(rows: Sequence[Row]) -> Figure:
    """Each figure as a part of the most that it may be, with its spread."""
    figure = Figure(figsize=(8, 0.24 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        low, middle, high = _of_limit(row)
        colour = MET if row.met else NOT_MET
        axes.plot([low, high], [place, place], color=colour, linewidth=2.5, alpha=0.45)
        axes.plot([middle], [place], marker="o", markersize=5, color=colour)
    axes.axvline(1, color=BAR, linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color="#e4e7ea")
    axes.set_xlabel("part of the bar: median, and from least to largest; left of 1 is met")
    return figure


def peers_figure(rows: Sequence[Row]) -> Figure:
    """What a task costs, ours beside theirs."""
    figure = Figure(figsize=(8, 0.5 * len(rows) + 1.3), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        for offset, cost, colour in ((-0.19, row.value, MET), (0.19, row.reference, PLAIN)):
            axes.barh(place + offset, cost, height=0.34, color=colour)
            axes.annotate(
                f"{cost:,.3g}" if cost and cost < 1000 else f"{cost:,.0f}",
                (cost or 0, place + offset),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [_peer(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.grid(axis="x", color="#e4e7ea")
    axes.set_xlabel(
        "microseconds for a task that does nothing; upper: runnerstone, lower: the other"
    )
    return figure


def _of_limit(row: Row) -> tuple[float, float, float]:
    """The least, the median and the largest as parts of the limit; what is below 0.001 is there."""
    figures = (
        (row.ratio_min, row.ratio, row.ratio_max)
        if row.limit_of == "ratio"
        else (row.value_min, row.value, row.value_max)
    )
    low, middle, high = (max((number or 0) / (row.limit or 1), 0.001) for number in figures)
    return low, middle, high


def _peer(row: Row) -> str:
    if row.name.startswith("pack_loop_"):
        return f"bare {row.name.removeprefix('pack_loop_')}"
    return row.name.removeprefix("peer_").replace("_", " ")


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, metadata={"Date": None})
