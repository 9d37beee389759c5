"""What a task costs that travels alone, beside the same loop on the bare engine."""

from functools import partial

from benchmarks.comparisons import Comparison, timed
from benchmarks.engines import WORKERS, Dask, Engine, Loky, Processes, Ray
from benchmarks.rows import Bar
from benchmarks.ways import ECHO, seconds

BARS = {"dask": Bar(limit=1.0), "ray": Bar(limit=1.1)}
OBSTACLES = {
    "dask": "Not profiled. Fewer bytes go to the scheduler than with bare calls, more come back; "
    "the ratio moves with what else the cores do.",
    "ray": "Threads of the driver that wake one another for each call: Ray's own that tells of its "
    "end, the one that records it, and the one that waits. They take 617 us of CPU a call, the "
    "bare loop 440.",
}
REFERENCES = {
    "process": "a `concurrent.futures.ProcessPoolExecutor`, `submit` and `result`",
    "loky": "a `loky.ProcessPoolExecutor`, `submit` and `result`",
    "dask": "`client.submit`, then one `gather`",
    "ray": "`.remote`, then one `ray.get`",
}


def comparisons(*, quick: bool) -> list[Comparison]:
    """The rows of this subject; the short ones if `quick`."""
    engines: list[Engine] = [Processes(), Loky(), Dask(), Ray()]
    return [_comparison(engine, quick=quick) for engine in engines]


def _comparison(engine: Engine, *, quick: bool) -> Comparison:
    count = 50 if quick else 2_000
    work = partial(seconds, work=ECHO, how="loop", count=count, workers=WORKERS)
    return Comparison(
        name=f"loop_{engine.title}",
        what=f"a task that does nothing, sent alone, in a loop of {count:,} and the "
        "result of each; " + REFERENCES[engine.title],
        unit="us/task",
        ours=timed(partial(engine.ours, work, packed=False), 1e6 / count),
        reference=timed(partial(engine.bare, work), 1e6 / count),
        runs=2 if quick else 7,
        bar=BARS.get(engine.title),
        obstacle=OBSTACLES.get(engine.title, ""),
        engine=engine,
    )
