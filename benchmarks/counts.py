"""Count what tasks cost that does not depend on the machine, and hold it to limits.

``python -m benchmarks.counts`` prints all counts, or those of ``core``, ``process``, ``dask`` or
``ray`` alone, and exits with 1 if one is over its limit. Limits leave a little room for Pythons and
engines of other versions; whoever makes something dearer on purpose raises one.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import counters, traffic
from benchmarks.comparisons import lack_of
from benchmarks.engines import Dask, Processes, Ray
from benchmarks.ways import silence


@dataclass(frozen=True)
class Limit:
    """The most that a count may be, and what it counts."""

    most: float
    what: str


LIMITS: Mapping[str, Limit] = {
    "blocks_pending": Limit(14, "blocks of memory held for a run that waits for a thread"),
    "blocks_ended": Limit(10, "blocks of memory held for a run that has ended, with its future"),
    "bytes_pending": Limit(1_300, "bytes held for a run that waits for a thread"),
    "bytes_ended": Limit(700, "bytes held for a run that has ended, with its future"),
    "calls_run": Limit(48, "functions of runnerstone called for a run on threads"),
    "calls_edge": Limit(4, "functions of runnerstone called for a future in an argument"),
    "bytes_parcel": Limit(120, "pickled bytes of a call that travels"),
    "bytes_outcome": Limit(200, "pickled bytes of its outcome"),
    "threads_empty": Limit(0, "threads started by a flow run that submits nothing"),
    "threads_one": Limit(1, "threads started by a flow run with one run on threads"),
    "hooks_instance": Limit(0, "hooks called by a flow run with an instance as its runner"),
    "hooks_name": Limit(1, "hooks called by the first flow run of a process that names its runner"),
    "records_run": Limit(2, "records logged for a run"),
    "process_messages_alone": Limit(1, "messages to processes for a run that travels alone"),
    "process_bytes_alone": Limit(180, "bytes to processes for a run that travels alone"),
    "process_messages_packed": Limit(0.1, "messages to processes for a run that may be packed"),
    "process_bytes_packed": Limit(80, "bytes to processes for a run that may be packed"),
    "dask_graphs_alone": Limit(0.1, "graphs to Dask's scheduler for a run that travels alone"),
    "dask_bytes_alone": Limit(700, "bytes to Dask's scheduler for a run that travels alone"),
    "dask_back_alone": Limit(1_000, "bytes from workers to it for a run that travels alone"),
    "dask_graphs_packed": Limit(0.05, "graphs to Dask's scheduler for a run that may be packed"),
    "dask_bytes_packed": Limit(150, "bytes to Dask's scheduler for a run that may be packed"),
    "dask_back_packed": Limit(150, "bytes from workers to it for a run that may be packed"),
    "ray_functions": Limit(0, "functions sent to Ray that it has already"),
    "ray_bytes_alone": Limit(1_000, "bytes to Ray over TCP for a run that travels alone"),
    "ray_bytes_packed": Limit(200, "bytes to Ray over TCP for a run that may be packed"),
}
COUNTERS: Mapping[str, Callable[[], dict[str, float]]] = {
    "core": counters.core,
    "process": traffic.process,
    "dask": traffic.dask,
    "ray": traffic.ray,
}
MODULES: Mapping[str, tuple[str, ...]] = {
    "core": (),
    "process": Processes.modules,
    "dask": Dask.modules,
    "ray": Ray.modules,
}


def over(counts: Mapping[str, float]) -> list[str]:
    """The names of those that are over their limits."""
    return [name for name, count in counts.items() if count > LIMITS[name].most]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print counts; exit with 1 if one is over its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counts", description=__doc__)
    parser.add_argument("of", nargs="*", metavar="|".join(COUNTERS), help="what is counted")
    names = parser.parse_args(arguments).of or [*COUNTERS]
    if unknown := {*names} - COUNTERS.keys():
        parser.error(f"nothing is counted of {', '.join(unknown)}")
    crossed = []
    for name in names:
        if lack := lack_of(*MODULES[name]):
            print(f"{name}: {lack}")
            continue
        counts = COUNTERS[name]()
        for key, count in counts.items():
            sign = ">" if key in over(counts) else "≤"
            print(f"{key:24} {count:8.6g} {sign} {LIMITS[key].most:<6g} {LIMITS[key].what}")
        crossed += over(counts)
    if crossed:
        raise SystemExit(f"over their limits: {', '.join(crossed)}")


if __name__ == "__main__":
    silence()
    main()
