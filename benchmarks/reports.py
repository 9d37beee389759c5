"""The results as files: JSON, a table, plots."""

import json
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

DISTRIBUTIONS = (
    *("runnerstone", "runnerstone-process", "runnerstone-dask", "runnerstone-ray"),
    *("distributed", "ray", "loky", "joblib", "parsl", "prefect", "executorlib"),
)
BEGINNING = "<!-- results, written by python -m benchmarks -->\n"
END = "<!-- end of the results -->\n"
HEADING = """\
| row | what; against what | ours | reference | ratio (least to largest) | bar | met |
|---|---|---|---|---|---|---|
"""


class Report:
    """The rows that were measured, and those of earlier runs that were not measured again."""

    def __init__(self, folder: Path | None, order: Sequence[str]) -> None:
        """Read what the folder has.

        Args:
            folder: Where the results are; None if they are written nowhere.
            order: The names of all rows there are; others are dropped.
        """
        self._folder = folder
        self._order = order
        self._rows = {} if folder is None else read(folder)

    def add(self, row: Row) -> None:
        """Take a row, in place of an earlier one."""
        self._rows[row.name] = row

    def rows(self) -> list[Row]:
        """In their order."""
        return [self._rows[name] for name in self._order if name in self._rows]

    def save(self) -> None:
        """Write ``results.json`` and ``results.md``."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = self.rows()
        where = environment()
        content = {
            "environment": where,
            "rows": [asdict(row) | {"bar": row.bar} for row in rows],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (self._folder / "results.json").write_text(text, encoding="utf-8")
        (self._folder / "results.md").write_text(page(rows, where), encoding="utf-8")

    def draw(self) -> None:
        """Write the plots, where there is matplotlib."""
        if self._folder is not None and find_spec("matplotlib"):
            from benchmarks import plots

            plots.draw(self.rows(), self._folder)


def environment() -> dict[str, Any]:
    """What the results were measured with; nothing that tells whose machine it was."""
    versions = {}
    for distribution in DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            versions[distribution] = version(distribution)
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.system(),
        "cores": os.cpu_count(),
        "versions": versions,
    }


def read(folder: Path) -> dict[str, Row]:
    """The rows that a folder's ``results.json`` has, by name; none without that file."""
    file = folder / "results.json"
    known = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    for row in known:
        del row["bar"]  # a text that comes of the rest
    return {row["name"]: Row(**row) for row in known}


def page(rows: Sequence[Row], where: dict[str, Any]) -> str:
    """The results for people, in Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    bars = [row for row in rows if row.met is not None]
    return (
        "# Results\n\n"
        "Written by `python -m benchmarks`; `docs/performance.md` says how to read them.\n\n"
        f"{where['python']} on {where['system']}, {where['cores']} cores; {versions}.\n\n"
        f"{sum(bool(row.met) for row in bars)} of {len(bars)} bars are met.\n\n" + table(rows)
    )


def table(rows: Sequence[Row]) -> str:
    """A line a row, and below the table the rows' notes."""
    lines = [f"| {' | '.join(_cells(row))} |\n" for row in rows]
    notes = [f"- `{row.name}`: {row.note}\n" for row in rows if row.note]
    return HEADING + "".join(lines) + ("\n" + "".join(notes) if notes else "")


def _cells(row: Row) -> tuple[str, ...]:
    name = f"`{row.name}`"
    if row.value is None:
        return name, row.what, "", "", "not measured", row.bar, ""
    met = {None: "", True: "yes", False: "**no**"}[row.met]
    spread = f" ({row.value_min:.3g} to {row.value_max:.3g})" if row.limit_of == "value" else ""
    return (
        name,
        row.what,
        f"{row.value:.3g} {row.unit}{spread}",
        f"{row.reference:.3g} {row.unit}",
        f"{row.ratio:.3g} ({row.ratio_min:.3g} to {row.ratio_max:.3g})",
        row.bar,
        met,
    )


def embed(rows: str, shown_on: Path) -> None:
    """Put a table in the place of the one that a page shows."""
    before, _, rest = shown_on.read_text(encoding="utf-8").partition(BEGINNING)
    _, _, after = rest.partition(END)
    shown_on.write_text(f"{before}{BEGINNING}\n{rows}\n{END}{after}", encoding="utf-8")


def line(row: Row) -> str:
    """A row as it is printed once it is measured."""
    if row.value is None:
        return f"{row.name:28} not measured: {row.note}"
    met = {None: "", True: "met", False: "NOT MET"}[row.met]
    return (
        f"{row.name:28} {row.value:>9.4g} {row.unit:8} reference {row.reference:>9.4g}   "
        f"ratio {row.ratio:.3g} ({row.ratio_min:.3g} to {row.ratio_max:.3g}) of {row.runs}   "
        f"{row.bar} {met}"
    ).rstrip()
