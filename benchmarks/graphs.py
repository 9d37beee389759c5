"""What dependencies cost in the driver, an edge; and whether their cost grows with their number."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.comparisons import Comparison, timed
from benchmarks.rows import Bar
from benchmarks.threads import CONCURRENT, WORKERS
from runnerstone import flow, task

AN_EDGE = Bar(limit=1.0, of="value")
LINEAR = Bar(limit=1.2)
OBSTACLES = {
    "chain": "A run that takes a value is dearer by this, not each of its edges: its arguments are "
    "taken apart and put together again, it waits, is counted down and released. The hand-over "
    "between threads is not it: on one thread a link costs as much.",
    "layers": "Finding the futures in the lists takes 43 % of it, entering each task among those "
    "that wait 23 %, taking the values 15 %.",
}


@task
def increment(number: int) -> int:
    return number + 1


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def count_all(numbers: list[int]) -> int:
    return len(numbers)


@flow(task_runner=CONCURRENT)
def flat(count: int) -> int:
    """As many tasks, and no edges."""
    return sum(future.result() for future in [increment.submit(0) for _ in range(count)])


@flow(task_runner=CONCURRENT)
def chain(links: int) -> int:
    number = 0
    for _ in range(links):
        number = increment(number)
    return number


@flow(task_runner=CONCURRENT)
def fan_in(edges: int) -> int:
    return total([increment(0) for _ in range(edges)])


@flow(task_runner=CONCURRENT)
def layers(depth: int, width: int) -> int:
    """Each task of a layer takes all of the layer before, as a list."""
    layer = [increment(0) for _ in range(width)]
    for _ in range(depth - 1):
        layer = [count_all(layer) for _ in range(width)]
    return total(layer)


def layers_on_pool(depth: int, width: int) -> int:
    """The same, where the driver waits for each layer."""
    with ThreadPoolExecutor(WORKERS) as pool:
        layer = [pool.submit(increment.fn, 0) for _ in range(width)]
        for _ in range(depth - 1):
            numbers = [future.result() for future in layer]
            layer = [pool.submit(count_all.fn, numbers) for _ in range(width)]
        return sum(future.result() for future in layer)


def edges_of(depth: int, width: int) -> int:
    return (depth - 1) * width * width + width


def comparisons(*, quick: bool) -> list[Comparison]:
    """The rows of this subject; the short ones if `quick`."""
    links, edges = (100, 200) if quick else (10_000, 50_000)
    depth, width = (4, 10) if quick else (100, 100)
    assert chain(50) == fan_in(50) == flat(50) == 50
    assert layers(3, 5) == layers_on_pool(3, 5) == 25
    return [
        _beyond_flat("chain", "link of a chain of", chain, links, quick=quick),
        _linear("chain", chain, links, quick=quick),
        _beyond_flat("fan_in", "future taken by one task, of", fan_in, edges, quick=quick),
        _linear("fan_in", fan_in, edges, quick=quick),
        Comparison(
            name="graph_layers_edge",
            what=f"an edge of {depth} layers of {width} tasks, each of which takes the whole "
            f"layer before ({edges_of(depth, width):,} edges), with its share of the tasks; a "
            "`ThreadPoolExecutor`, waiting in the driver for each layer",
            unit="us/edge",
            ours=timed(partial(layers, depth, width), 1e6 / edges_of(depth, width)),
            reference=timed(partial(layers_on_pool, depth, width), 1e6 / edges_of(depth, width)),
            runs=3 if quick else 5,
            bar=AN_EDGE,
        ),
        Comparison(
            name="graph_layers_linear",
            what=f"an edge of that graph; an edge of one of {depth // 2} layers (the bar allows "
            "for noise)",
            unit="us/edge",
            ours=timed(partial(layers, depth, width), 1e6 / edges_of(depth, width)),
            reference=timed(partial(layers, depth // 2, width), 1e6 / edges_of(depth // 2, width)),
            runs=3 if quick else 5,
            bar=LINEAR,
        ),
    ]


def _beyond_flat(
    name: str, edge: str, graph: Callable[[int], int], size: int, *, quick: bool
) -> Comparison:
    return Comparison(
        name=f"graph_{name}_edge",
        what=f"what a {edge} {size:,} takes beyond its task; a task of as many without edges. The "
        "ratio is that of both as wholes",
        unit="us/edge",
        ours=timed(partial(graph, size), 1e6 / size),
        reference=timed(partial(flat, size), 1e6 / size),
        runs=3 if quick else 7,
        is_surplus=True,
        bar=AN_EDGE,
        obstacle=OBSTACLES.get(name, ""),
    )


def _linear(name: str, graph: Callable[[int], int], size: int, *, quick: bool) -> Comparison:
    return Comparison(
        name=f"graph_{name}_linear",
        what=f"an edge of that graph, with its task; one of a graph of {size // 2:,} edges (the "
        "bar allows for noise)",
        unit="us/edge",
        ours=timed(partial(graph, size), 1e6 / size),
        reference=timed(partial(graph, size // 2), 2e6 / size),
        runs=3 if quick else 7,
        bar=LINEAR,
    )
