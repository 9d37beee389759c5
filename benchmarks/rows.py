"""What the suite puts out: a row a figure, and the bar that it has to meet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

Barred = Literal["ratio", "value"]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The most that a figure may be.

    Attributes:
        limit: The most.
        of: What it limits: the ratio to the reference, or the value, in the row's unit.
    """

    limit: float
    of: Barred = "ratio"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run of a comparison; value and reference in the row's unit."""

    value: float
    reference: float
    ratio: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one comparison came to; what was not measured has no numbers, and a note that says why.

    Attributes:
        name: The subject's, and what is measured.
        what: The value, and after a semicolon the reference that it is measured against.
        unit: Of value and reference.
        value: Ours, the median of the runs.
        value_min: The least of them.
        value_max: The largest of them.
        reference: The median of the runs without.
        ratio: The median of the runs' ratios, ours to the reference.
        ratio_min: The least of them.
        ratio_max: The largest of them.
        runs: How many runs.
        limit: The most that it may be; None if there is no bar.
        limit_of: What the bar is about.
        met: Whether the median meets the bar; None without a bar or without a measurement.
        note: Why it was not measured, or what stands in the way of the bar.
    """

    name: str
    what: str
    unit: str
    value: float | None = None
    value_min: float | None = None
    value_max: float | None = None
    reference: float | None = None
    ratio: float | None = None
    ratio_min: float | None = None
    ratio_max: float | None = None
    runs: int = 0
    limit: float | None = None
    limit_of: Barred | None = None
    met: bool | None = None
    note: str = ""

    @property
    def bar(self) -> str:
        """As people read it; empty if there is none."""
        if self.limit is None:
            return ""
        return f"≤ {self.limit:.4g} {'x' if self.limit_of == 'ratio' else self.unit}"

    def measured(self, samples: Sequence[Sample], obstacle: str) -> "Row":
        """The row with numbers.

        Args:
            samples: The runs.
            obstacle: What stands in the way, should the bar not be met.
        """
        values = [sample.value for sample in samples]
        ratios = [sample.ratio for sample in samples]
        figures = {"value": median(values), "ratio": median(ratios), None: 0.0}
        met = None if self.limit is None else figures[self.limit_of] <= self.limit
        return replace(
            self,
            value=_rounded(median(values)),
            value_min=_rounded(min(values)),
            value_max=_rounded(max(values)),
            reference=_rounded(median(sample.reference for sample in samples)),
            ratio=_rounded(median(ratios)),
            ratio_min=_rounded(min(ratios)),
            ratio_max=_rounded(max(ratios)),
            runs=len(samples),
            met=met,
            note=obstacle if met is False else "",
        )


def _rounded(number: float) -> float:
    return float(f"{number:.4g}")
