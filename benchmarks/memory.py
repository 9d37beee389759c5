"""What stays in memory of many tasks; each row in fresh processes."""

from typing import Any

from benchmarks.comparisons import Comparison, lack_of
from benchmarks.engines import WORKERS
from benchmarks.interpreters import ask
from benchmarks.rows import Bar

MEGABYTE = 1e6
FLAT = Bar(limit=50, of="value")
SETTINGS: dict[str, dict[str, Any]] = {
    "dask": {
        "cluster_kwargs": {
            "n_workers": WORKERS,
            "threads_per_worker": 1,
            "dashboard_address": "127.0.0.1:0",
        }
    },
    "ray": {"init_kwargs": {"num_cpus": WORKERS}},
}


class Probe:
    """A pair of figures from a fresh process: bytes before, and bytes after."""

    def __init__(self, call: str, unit: float) -> None:
        """Prepare to ask.

        Args:
            call: Of a function of `probes`.
            unit: How many bytes make one of the row's unit.
        """
        self._call = call
        self._unit = unit
        self._before = 0.0

    def after(self) -> float:
        """Ask; the second figure."""
        statement = (
            f"import json; from benchmarks import probes; print(json.dumps(probes.{self._call}))"
        )
        before, after = ask(statement)
        self._before = before / self._unit
        return float(after / self._unit)

    def before(self) -> float:
        """The first, of when the second was asked for."""
        return self._before

    def growth(self) -> float:
        """Ask; how much there was more."""
        return self.after() - self._before


def comparisons(*, quick: bool) -> list[Comparison]:
    """The rows of this subject; the short ones if `quick`."""
    count, first = (400, 100) if quick else (1_000_000, 10_000)
    kept = 5_000 if quick else 100_000
    stream = Probe(f"streamed_on_threads({count}, {first})", MEGABYTE)
    return [
        Comparison(
            name="memory_streamed",
            what=f"by how much the driver's resident memory grows from the {first:,}th to the last "
            f"of {count:,} tasks that `map(..., buffersize=1000)` streams through a flow on "
            "threads; its memory then. The ratio is that of its memory",
            unit="MB",
            ours=stream.after,
            reference=stream.before,
            runs=1 if quick else 3,
            warm_ups=0,
            is_surplus=True,
            bar=FLAT,
            lack=lack_of("psutil"),
        ),
        Comparison(
            name="memory_held",
            what=f"the driver's resident memory for each of {kept:,} tasks submitted at once, "
            "whose futures are held until all have ended; for each of as many futures of a "
            "`ThreadPoolExecutor`",
            unit="B/task",
            ours=Probe(f"held({kept})", kept).growth,
            reference=Probe(f"held_on_pool({kept})", kept).growth,
            runs=1 if quick else 5,
            warm_ups=0,
            bar=Bar(limit=1_000, of="value"),
            lack=lack_of("psutil"),
        ),
        _on_engine("dask", "distributed", quick=quick),
        _on_engine("ray", "ray", quick=quick),
    ]


def _on_engine(name: str, module: str, *, quick: bool) -> Comparison:
    count, first = (200, 50) if quick else (100_000, 25_000)
    stream = Probe(f"streamed_on({name!r}, {count}, {first}, {SETTINGS[name]!r})", MEGABYTE)
    return Comparison(
        name=f"memory_{name}",
        what=f"by how much the resident memory of driver and cluster grows from the {first:,}th to "
        f"the last of {count:,} tasks streamed; their memory then. The ratio is that of their "
        "memory",
        unit="MB",
        ours=stream.after,
        reference=stream.before,
        runs=1 if quick else 3,
        warm_ups=0,
        is_surplus=True,
        bar=FLAT,
        lack=lack_of("psutil", f"runnerstone_{name}", module),
    )
