"""What calls cost that may travel several together, and what they must not cost."""

from collections.abc import Iterator
from functools import partial

from benchmarks.comparisons import Comparison, timed
from benchmarks.engines import WORKERS, Dask, Engine, Loky, Processes, Ray
from benchmarks.loops import REFERENCES as LOOPS
from benchmarks.rows import Bar
from benchmarks.ways import ECHO, NAP, seconds

BARS = {"dask": Bar(limit=0.05), "ray": Bar(limit=0.0833)}
MAPS = {
    "process": "`ProcessPoolExecutor.map(chunksize=1)`",
    "loky": "`loky.ProcessPoolExecutor.map(chunksize=1)`",
    "dask": "`client.map` and `gather`",
    "ray": "a loop of `.remote`, and `ray.get`",
}


def comparisons(*, quick: bool) -> list[Comparison]:
    """The rows of this subject; the short ones if `quick`."""
    engines: list[Engine] = [Processes(), Dask(), Ray()]
    return [
        *(row for engine in engines for row in _of(engine, quick=quick)),
        _noops(Loky(), quick=quick),
    ]


def _of(engine: Engine, *, quick: bool) -> Iterator[Comparison]:
    yield _noops(engine, quick=quick)
    yield _loop(engine, quick=quick)
    yield _naps(engine, quick=quick)
    yield _latency(engine, quick=quick)


def _noops(engine: Engine, *, quick: bool) -> Comparison:
    count = 200 if quick else 20_000
    work = partial(seconds, work=ECHO, how="map", count=count, workers=WORKERS)
    return Comparison(
        name=f"pack_noops_{engine.title}",
        what=f"a task that does nothing, one of {count:,} by `map`; {MAPS[engine.title]}",
        unit="us/task",
        ours=timed(partial(engine.ours, work), 1e6 / count),
        reference=timed(partial(engine.bare, work), 1e6 / count),
        runs=2 if quick else 3,
        warm_ups=0,
        bar=BARS.get(engine.title),
        engine=engine,
    )


def _loop(engine: Engine, *, quick: bool) -> Comparison:
    count = 20 if quick else 2_000
    work = partial(seconds, work=ECHO, how="loop", count=count, workers=WORKERS)
    return Comparison(
        name=f"pack_loop_{engine.title}",
        what=f"a task that does nothing, in a loop of {count:,} and the result of each; "
        + LOOPS[engine.title],
        unit="us/task",
        ours=timed(partial(engine.ours, work), 1e6 / count),
        reference=timed(partial(engine.bare, work), 1e6 / count),
        runs=2 if quick else 3,
        warm_ups=0,
        engine=engine,
    )


def _naps(engine: Engine, *, quick: bool) -> Comparison:
    count = 20 if quick else 400
    work = partial(seconds, work=NAP, how="map", count=count, workers=WORKERS)
    return Comparison(
        name=f"pack_naps_{engine.title}",
        what=f"a task that sleeps for 10 ms, one of {count} by `map` on {WORKERS} workers; "
        + MAPS[engine.title],
        unit="ms/task",
        ours=timed(partial(engine.ours, work), 1e3 / count),
        reference=timed(partial(engine.bare, work), 1e3 / count),
        runs=2 if quick else 5,
        warm_ups=0,
        bar=Bar(limit=1.0),
        obstacle="Not profiled. Such tasks travel alone; the first are sent a few at a time, until "
        "it is known how long they take.",
        engine=engine,
    )


def _latency(engine: Engine, *, quick: bool) -> Comparison:
    count = 10 if quick else 200 if engine.distributed else 1_000
    work = partial(seconds, work=ECHO, how="one_by_one", count=count, workers=WORKERS)
    return Comparison(
        name=f"pack_latency_{engine.title}",
        what=f"a task submitted alone and its result, {count:,} times one after another; the same "
        "with `batch=1` (the bar allows for noise)",
        unit="us/task",
        ours=timed(partial(engine.ours, work), 1e6 / count),
        reference=timed(partial(engine.ours, work, packed=False), 1e6 / count),
        runs=2 if quick else 9 if engine.distributed else 15,
        bar=Bar(limit=1.05),
        obstacle="Whether a call may go at once, and what its end says of the next ones, is some "
        "twenty calls of Python functions more on two threads.",
        engine=engine,
    )
