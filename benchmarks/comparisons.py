"""One way of doing something measured against another, in turns, so that drift hits both."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from benchmarks.rows import Bar, Row, Sample

if TYPE_CHECKING:
    from benchmarks.engines import Engine

Measure = Callable[[], float]
"""Does something once; returns what it took, in a row's unit."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two ways of doing the same, and the row that comes of them.

    Attributes:
        name: The row's.
        what: The row's.
        unit: The row's.
        ours: Measures it once with runnerstone.
        reference: Measures it once without.
        runs: How often each is measured, in turns.
        warm_ups: How many turns go before that are not counted.
        is_surplus: Whether the value is what ours takes beyond the reference, not all of it. The
            ratio is that of the whole.
        bar: The most that it may be.
        engine: What has to run meanwhile.
        lack: Why it cannot be measured here; empty if it can. The engine may know of more.
        obstacle: What stands in the way of the bar, for a row that does not meet it.
    """

    name: str
    what: str
    unit: str
    ours: Measure
    reference: Measure
    runs: int
    warm_ups: int = 1
    is_surplus: bool = False
    bar: Bar | None = None
    engine: "Engine | None" = None
    lack: str = ""
    obstacle: str = ""

    def row(self, runs: int | None = None) -> Row:
        """Measure both in turns, after those that are not counted."""
        for _ in range(self.warm_ups):
            self._sample()
        samples = [self._sample() for _ in range(runs or self.runs)]
        return self.unmeasured("").measured(samples, self.obstacle)

    def unmeasured(self, why: str) -> Row:
        """The row without numbers."""
        return Row(
            name=self.name,
            what=self.what,
            unit=self.unit,
            limit=None if self.bar is None else self.bar.limit,
            limit_of=None if self.bar is None else self.bar.of,
            note=why,
        )

    def _sample(self) -> Sample:
        ours, reference = self.ours(), self.reference()
        value = ours - reference if self.is_surplus else ours
        return Sample(value=value, reference=reference, ratio=ours / reference)


def lack_of(*modules: str) -> str:
    """Which of these modules are not installed, as rows tell it; empty if all are."""
    missing = [name for name in modules if find_spec(name) is None]
    return f"not installed here: {', '.join(missing)}" if missing else ""


def timed(fn: Callable[[], object], per_second: float = 1.0) -> Measure:
    """Measures how long a call takes, from a heap without garbage.

    Args:
        fn: What is called. It may return how long the part to be timed took, in seconds, as a
            float.
        per_second: How many of the row's unit a second makes.
    """
    return partial(_seconds, fn, per_second)


def _seconds(fn: Callable[[], object], per_second: float) -> float:
    gc.collect()
    started = time.perf_counter()
    part = fn()
    seconds = part if isinstance(part, float) else time.perf_counter() - started
    return seconds * per_second
