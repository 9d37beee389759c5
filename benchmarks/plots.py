"""The results as pictures; loads matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.rows import Row

MET, NOT_MET, OTHERS, INK, GRID = "#2a7f62", "#c8553d", "#9aa5ae", "#222222", "#e4e7ea"
LEAST = 0.01  # of a bar; what is below is drawn there
LABELS = {
    "peer_joblib_threads": "joblib\nthreads",
    "peer_parsl": "Parsl\nthreads",
    "peer_prefect": "Prefect\nthreads",
    "peer_joblib_processes": "joblib\nprocesses",
    "peer_executorlib": "executorlib\nprocesses",
    "pack_loop_process": "standard library\nprocesses",
    "pack_loop_dask": "Dask",
    "pack_loop_ray": "Ray",
}
STYLE: Any = {  # its type depends on the version
    "svg.hashsalt": "runnerstone",  # as is what follows, so that equal results are equal files
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.edgecolor": OTHERS,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Write a plot of the bars, and one of what a task costs here and elsewhere."""
    known = {row.name: row for row in rows if row.value is not None}
    bars = [row for row in known.values() if row.limit is not None]
    costs = [known[name] for name in LABELS if name in known]
    with mpl.rc_context(STYLE):
        if bars:
            _save(bars_figure(bars), folder / "bars.svg")
        if costs:
            _save(costs_figure(costs), folder / "costs.svg")


def bars_figure(rows: Sequence[Row]) -> Figure:
    """Each figure as a part of the most that it may be, with its spread."""
    figure, axes = _canvas(0.24 * len(rows) + 1.0, [row.name for row in rows])
    for place, row in enumerate(rows):
        low, middle, high = _of_limit(row)
        colour = MET if row.met else NOT_MET
        axes.plot([low, high], [place, place], color=colour, linewidth=3, alpha=0.4)
        axes.plot([middle], [place], marker="o", markersize=5, color=colour)
        shown = row.ratio if row.limit_of == "ratio" else row.value
        axes.annotate(
            f"{shown:.3g}  {row.bar}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=INK,
        )
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xlabel("part of the bar, as median and from least to largest; up to 1 it is met")
    return figure


def costs_figure(rows: Sequence[Row]) -> Figure:
    """What a task costs, here and elsewhere."""
    figure, axes = _canvas(0.55 * len(rows) + 1.3, [LABELS[row.name] for row in rows])
    for place, row in enumerate(rows):
        for offset, cost, colour in ((-0.19, row.value, MET), (0.19, row.reference, OTHERS)):
            height = place + offset
            axes.plot(
                [1, cost or 1], [height, height], color=colour, linewidth=9, solid_capstyle="butt"
            )
            axes.annotate(
                f"{cost:,.0f}",
                (cost or 1, height),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    axes.set_xlim(left=1)
    axes.margins(x=0.1)
    axes.set_xlabel("microseconds for a task that does nothing, in a loop of submissions")
    figure.legend(
        handles=[
            Line2D([], [], color=MET, linewidth=6, label="runnerstone"),
            Line2D([], [], color=OTHERS, linewidth=6, label="the other"),
        ],
        loc="outside upper center",
        ncols=2,
    )
    return figure


def _canvas(height: float, labels: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure with a line for each label, and a logarithmic axis below."""
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.6g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="x", color=GRID)
    return figure, axes


def _of_limit(row: Row) -> tuple[float, float, float]:
    """The least, the median and the largest as parts of the limit."""
    figures = (
        (row.ratio_min, row.ratio, row.ratio_max)
        if row.limit_of == "ratio"
        else (row.value_min, row.value, row.value_max)
    )
    low, middle, high = (max((number or 0) / (row.limit or 1), LEAST) for number in figures)
    return low, middle, high


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, metadata={"Date": None})
