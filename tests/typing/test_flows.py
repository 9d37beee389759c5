"""Flows check as the functions that they are made of, and their runs are of what these return."""

from collections import Counter
from collections.abc import Coroutine
from typing import Any, assert_type

from runnerstone import (
    Cancelled,
    Completed,
    Failed,
    Flow,
    FlowRun,
    State,
    StateType,
    TaskRun,
    flow,
    task,
)
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner, TaskRunner


@task
def parse(path: str) -> list[str]:
    return [path]


@task
async def download(url: str) -> bytes:
    return url.encode()


@flow
def census(folder: str, *, top: int = 10) -> dict[str, list[str]]:
    return {path: parse(path) for path in [folder] * top}


@flow(name="mirror", task_runner="sequential", keep_task_runs=100)
async def mirror(url: str) -> int:
    content = await download.submit(url)
    assert_type(content, bytes)
    return len(await download(url)) + len(content)


@flow()
def both(folder: str) -> int:
    """Call a flow inside of a flow."""
    return len(census(folder))


def makes_flows() -> None:
    assert_type(flow(len)(["a"]), int)
    assert_type(flow(task_runner=SequentialTaskRunner)(len)(["a"]), int)
    assert_type(flow(task_runner=ConcurrentTaskRunner(max_workers=2))(len)(["a"]), int)
    assert_type(flow(task_runner=None)(len)(["a"]), int)

    flow("census")  # type: ignore[call-overload]
    flow(task_runer="dask")  # type: ignore[call-overload]
    flow(task_runner=5)  # type: ignore[call-overload]
    flow(task_runner=int)  # type: ignore[arg-type]
    flow(keep_task_runs="all")  # type: ignore[call-overload]


def describes_flows() -> None:
    assert_type(census.name, str)
    assert_type(census.is_async, bool)
    assert_type(census.fn("a", top=1), dict[str, list[str]])
    assert_type(census.task_runner, TaskRunner | type[TaskRunner] | str | None)


def calls() -> None:
    assert_type(census("a"), dict[str, list[str]])
    assert_type(census("a", top=3), dict[str, list[str]])
    assert_type(both("a"), int)

    census()  # type: ignore[call-arg]
    census(1)  # type: ignore[arg-type]
    census("a", 3)  # type: ignore[call-arg]
    census("a", tops=3)  # type: ignore[call-arg]


def runs() -> None:
    run = census.run("a", top=3)

    assert_type(run, FlowRun[dict[str, list[str]]])
    assert_type(run.result(), dict[str, list[str]])
    assert_type(run.state, State)
    assert_type(run.task_runs, list[TaskRun])
    assert_type(run.subflow_runs, list[FlowRun[Any]])
    assert_type(run.counts, dict[StateType, int])
    assert_type(run.failures, list[tuple[str, BaseException]])
    assert_type(run.further_failures, Counter[tuple[str, str]])
    assert_type(run.error, BaseException | None)
    assert_type(run.ended, float | None)

    census.run()  # type: ignore[call-arg]
    census.run(1)  # type: ignore[arg-type]
    census.run("a", 3)  # type: ignore[call-arg]


async def awaits() -> None:
    assert_type(await mirror("a"), int)
    assert_type(await mirror.run("a"), FlowRun[int])
    assert_type((await mirror.run("a")).result(), int)

    mirror.run("a").result()  # type: ignore[attr-defined]
    await mirror()  # type: ignore[call-arg]
    await mirror.run(1)  # type: ignore[call-overload]


def changes_options() -> None:
    on_dask = census.with_options(task_runner="dask", name="big", keep_task_runs=0)

    assert_type(on_dask("a", top=1), dict[str, list[str]])
    assert_type(on_dask.run("a").result(), dict[str, list[str]])
    on_dask("a", 1)  # type: ignore[call-arg]
    census.with_options(runner="dask")  # type: ignore[call-arg]
    census.with_options(name=5)  # type: ignore[arg-type]


def takes_flows(any_flow: Flow[..., int], this_flow: Flow[[str], int]) -> None:
    assert_type(any_flow("whatever", works=True), int)

    takes_flows(both, both)
    takes_flows(census, both)  # type: ignore[arg-type]
    takes_flows(both, census)  # type: ignore[arg-type]


def makes_states() -> None:
    state = assert_type(Completed("Early.", result=5), State)
    assert_type(Failed(result=ValueError("no")), State)
    assert_type(Cancelled("Not needed.").is_final(), bool)
    assert_type(state.message, str | None)

    state.message = "Later."  # type: ignore[misc]
    Completed(5)  # type: ignore[arg-type]


mirrored: Coroutine[Any, Any, int] = mirror("a")
mirrored.close()
