"""What is sent for a task, counted in bytes; and how often its function is."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

from benchmarks.comparisons import Comparison
from benchmarks.engines import WORKERS, Dask, Engine, Loky, Processes, Ray
from benchmarks.rows import Bar
from benchmarks.ways import ECHO, WARM_UP, How, Way, Work, warm
from benchmarks.wires import Wire, counting
from runnerstone import task

BELOW_A_KILOBYTE = Bar(limit=1_000, of="value")
ONCE = Bar(limit=1.2, of="value")
LOADS = {"dask": 12_000}
"""Bytes in a function; on Dask below what it would be given apart from the calls."""
LOAD = 200_000
Direction = Literal["out", "back"]


def wire(engine: Engine, way: Way, *, work: Work, how: How, count: int) -> Wire:
    """What so many calls have sent, with workers that are warm."""
    warm(way, WORKERS)
    do = {"loop": way.loop, "map": way.map, "one_by_one": way.one_by_one}[how]
    if work is ECHO:
        do(work, range(WARM_UP))
    with counting(engine) as sent:
        assert sum(do(work, range(count))) == sum(range(count))
    return sent


def sent_a_task(  # noqa: PLR0913  # what is sent, and how
    engine: Engine, way: Way, *, how: How, count: int, direction: Direction, work: Work = ECHO
) -> float:
    """Bytes a task, one way."""
    sent = wire(engine, way, work=work, how=how, count=count)
    nbytes: int | None = getattr(sent, direction)
    assert nbytes is not None
    return nbytes / count


def loaded(load: int) -> Work:
    """A function that nobody can import, with so many bytes in it that nobody has seen."""
    ballast = os.urandom(load)

    def carry(number: int) -> int:
        return number if len(ballast) == load else -1

    return Work(task(carry), carry)


def copies(engine: Engine, do: Callable[[Callable[[Way], float]], float], count: int) -> float:
    """How many copies of a function are sent for so many calls, a worker."""
    load = LOADS.get(engine.title, LOAD)

    def nbytes(size: int) -> float:
        def send(way: Way) -> float:
            sent = wire(engine, way, work=loaded(size), how="loop", count=count)
            return float(sent.out if sent.to_workers is None else sent.to_workers)

        return do(send)

    return (nbytes(load) - nbytes(1)) / load / WORKERS


def comparisons(*, quick: bool) -> list[Comparison]:
    """The rows of this subject; the short ones if `quick`."""
    engines: list[Engine] = [Processes(), Dask(), Ray()]
    # The standard library's processes take no function that cannot be imported; loky's do.
    carriers: list[Engine] = [Loky(), *engines[1:]]
    return [
        row
        for engine, carrier in zip(engines, carriers, strict=True)
        for row in (*_of(engine, quick=quick), _function(engine.title, carrier, quick=quick))
    ]


def _of(engine: Engine, *, quick: bool) -> Iterator[Comparison]:
    place = {"process": "to its processes", "dask": "to Dask's scheduler", "ray": "to Ray over TCP"}
    here = f"bytes that the driver sends {place[engine.title]}"
    yield _bytes(engine, "alone", here, "out", quick=quick)
    yield _bytes(engine, "packed", here, "out", quick=quick)
    if isinstance(engine, Dask):
        there = "bytes that workers send to Dask's scheduler"
        yield _bytes(engine, "back_alone", there, "back", quick=quick)
        yield _bytes(engine, "back_packed", there, "back", quick=quick)


def _function(title: str, engine: Engine, *, quick: bool) -> Comparison:
    count = 10 if quick else 100
    load = LOADS.get(title, LOAD)
    return Comparison(
        name=f"bytes_{title}_function",
        what=f"copies of a function of {load:,} bytes for each worker that are sent with {count} "
        "calls, one by one"
        + (", to where Ray's workers fetch it" if isinstance(engine, Ray) else "")
        + f"; on bare {engine.title.capitalize()}",
        unit="copies",
        ours=partial(copies, engine, partial(engine.ours, packed=False), count),
        reference=partial(copies, engine, engine.bare, count),
        runs=1 if quick else 3,
        warm_ups=0,
        bar=ONCE,
        engine=engine,
    )


def _bytes(
    engine: Engine, kind: str, what: str, direction: Direction, *, quick: bool
) -> Comparison:
    packed = kind.endswith("packed")
    count = 50 if quick else 1_000
    how: How = "map" if packed else "loop"
    sent = partial(sent_a_task, engine, how=how, count=count, direction=direction)
    return Comparison(
        name=f"bytes_{engine.title}_{kind}",
        what=f"{what} for a task that does nothing, its argument included, one of {count:,} "
        + ("by `map`" if packed else "sent alone")
        + "; on the bare engine",
        unit="B/task",
        ours=partial(engine.ours, sent, packed=packed),
        reference=partial(engine.bare, sent),
        runs=1 if quick else 3,
        warm_ups=0,
        bar=None if isinstance(engine, Processes) else BELOW_A_KILOBYTE,
        engine=engine,
    )
