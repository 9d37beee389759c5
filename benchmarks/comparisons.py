"""One way of doing something measured against another, in turns, so that drift hits both."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What one comparison came to; `python -m benchmarks --help` says how to read it."""

    name: str
    value: float
    unit: str
    reference: float
    ratio: float
    runs: int
    ratio_min: float
    ratio_max: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two ways of doing the same.

    Attributes:
        name: The figure's.
        unit: What the figure's value and reference are given in.
        per_second: How many of the unit one second of one run makes.
        ours: Does it once with runnerstone; it may return how long the part to be timed took, in
            seconds, as a float.
        reference: Does it once without; likewise.
        runs: How often each is timed, in turns.
        is_surplus: Whether the value is what ours takes beyond the reference, not all of it.
    """

    name: str
    unit: str
    per_second: float
    ours: Callable[[], object]
    reference: Callable[[], object]
    runs: int
    is_surplus: bool = False

    def figure(self) -> Figure:
        """Time both in turns, after one turn that is not counted."""
        pairs = [(seconds(self.ours), seconds(self.reference)) for _ in range(self.runs + 1)][1:]
        ratios = [ours / reference for ours, reference in pairs]
        values = [ours - reference * self.is_surplus for ours, reference in pairs]
        references = [reference for _, reference in pairs]
        return Figure(
            name=self.name,
            value=round(median(values) * self.per_second, 3),
            unit=self.unit,
            reference=round(median(references) * self.per_second, 3),
            ratio=round(median(ratios), 3),
            runs=self.runs,
            ratio_min=round(min(ratios), 3),
            ratio_max=round(max(ratios), 3),
        )


def seconds(fn: Callable[[], object]) -> float:
    """How long one call takes, from a heap without garbage; or the part of it that it says."""
    gc.collect()
    started = time.perf_counter()
    part = fn()
    return part if isinstance(part, float) else time.perf_counter() - started
