"""Counts what tasks send on processes, Dask and Ray; see `counts`."""

from functools import partial

from benchmarks.engines import WORKERS, Dask, Engine, Processes, Ray
from benchmarks.ways import ECHO, WARM_UP, How, Way, warm
from benchmarks.wires import Wire, counting

RUNS = 1_000


def sent(engine: Engine, *, how: How, packed: bool) -> Wire:
    """What the runs of a flow send."""
    wires = []

    def work(way: Way) -> float:
        warm(way, WORKERS)
        do = way.map if how == "map" else way.loop
        do(ECHO, range(WARM_UP))
        with counting(engine) as wire:
            do(ECHO, range(RUNS))
        wires.append(wire)
        return 0.0

    engine.ours(work, packed=packed)
    return wires[0]


def process() -> dict[str, float]:
    """Messages and bytes to processes, for a run."""
    with Processes() as engine:
        alone, packed = _both(engine)
    return {
        "process_messages_alone": alone.kinds["message"] / RUNS,
        "process_bytes_alone": alone.out / RUNS,
        "process_messages_packed": packed.kinds["message"] / RUNS,
        "process_bytes_packed": packed.out / RUNS,
    }


def dask() -> dict[str, float]:
    """Graphs and bytes to Dask's scheduler, for a run."""
    with Dask() as engine:
        alone, packed = _both(engine)
    return {
        "dask_graphs_alone": alone.kinds["update-graph"] / RUNS,
        "dask_bytes_alone": alone.out / RUNS,
        "dask_back_alone": (alone.back or 0) / RUNS,
        "dask_graphs_packed": packed.kinds["update-graph"] / RUNS,
        "dask_bytes_packed": packed.out / RUNS,
        "dask_back_packed": (packed.back or 0) / RUNS,
    }


def ray() -> dict[str, float]:
    """Functions that the runs of a flow export to Ray, and bytes for a run."""
    with Ray() as engine:
        alone, packed = _both(engine)
    return {
        "ray_functions": alone.kinds["function"] + packed.kinds["function"],
        "ray_bytes_alone": alone.out / RUNS,
        "ray_bytes_packed": packed.out / RUNS,
    }


def _both(engine: Engine) -> tuple[Wire, Wire]:
    count = partial(sent, engine)
    return count(how="loop", packed=False), count(how="map", packed=True)
