"""What tasks and flows are declared with."""

from collections.abc import Mapping
from typing import Any, assert_type

from runnerstone import FlowRun, TaskFuture, exponential_backoff, flow, task
from runnerstone.options import FlowOptions, TaskOptions


def is_worth_it(error: BaseException) -> bool:
    return isinstance(error, OSError)


def name_run(arguments: Mapping[str, Any]) -> str:
    return f"parse {arguments['path']}"


def tell_task(future: TaskFuture[Any]) -> None:
    print(future.name, future.state, future.result())


def tell_parsed(future: TaskFuture[list[str]]) -> int:
    return len(future.result())


def tell_flow(run: FlowRun[Any]) -> None:
    print(run.name, run.state, run.result())


@task(
    name=None,
    tags=["io", "slow"],
    description="Parse a file.",
    retries=3,
    retry_delay_seconds=[1, 2.5, 10],
    retry_jitter=0.5,
    retry_on=(OSError, ValueError),
    crash_retries=0,
    timeout_seconds=60,
    task_run_name="parse {path}",
    log_prints=True,
    on_completion=tell_task,
    on_failure=[tell_task, tell_parsed],
    on_crashed=(print, lambda future: print(future.name)),
    resources={"cpu": 1, "gpu": "a100"},
    runner_options={"dask": {"priority": 1}},
)
def parse(path: str) -> list[str]:
    return [path]


@flow(
    name=None,
    tags={"nightly"},
    description="Parse files.",
    task_runner="dask",
    retries=1,
    retry_delay_seconds=5,
    retry_jitter=0.1,
    timeout_seconds=None,
    flow_run_name=name_run,
    log_prints=True,
    on_completion=tell_flow,
    on_failure=[tell_flow],
    on_crashed=lambda run: print(run.flow_name),
    on_body_error="cancel",
    keep_task_runs=100,
)
def census(folder: str) -> int:
    return len(parse(folder))


def keeps_the_functions_types() -> None:
    assert_type(parse("a"), list[str])
    assert_type(parse.submit("a").result(), list[str])
    assert_type(parse.options, TaskOptions)
    assert_type(parse.description, str | None)
    assert_type(census("a"), int)
    assert_type(census.run("a"), FlowRun[int])
    assert_type(census.options, FlowOptions)


def takes_every_form() -> None:
    task(retry_delay_seconds=0.5, retry_on=OSError, task_run_name=name_run)
    task(retry_delay_seconds=exponential_backoff(2, max_seconds=60), retry_on=is_worth_it)
    task(retry_delay_seconds=lambda retry: 2.0**retry, retry_on=None, task_run_name=None)
    task(timeout_seconds=None, log_prints=None, tags=(), on_completion=[])
    task(retry_on=lambda error: "busy" in str(error), on_completion=print)
    flow(retry_delay_seconds=(1, 2), flow_run_name="census of {folder}", on_body_error="wait")
    flow(on_failure=(tell_flow, print), tags=["a"], flow_run_name=None, task_runner=None)


def refuses_what_tasks_do_not_take() -> None:
    task(name=5)  # type: ignore[call-overload]
    task(tags=5)  # type: ignore[call-overload]
    task(description=5)  # type: ignore[call-overload]
    task(retries=1.5)  # type: ignore[call-overload]
    task(retry_delay_seconds="1")  # type: ignore[arg-type]
    task(retry_delay_seconds=["1"])  # type: ignore[list-item]
    task(retry_delay_seconds=None)  # type: ignore[call-overload]
    task(retry_jitter="much")  # type: ignore[call-overload]
    task(retry_on=OSError())  # type: ignore[call-overload]
    task(retry_on=int)  # type: ignore[arg-type]
    task(retry_on="OSError")  # type: ignore[call-overload]
    task(crash_retries=None)  # type: ignore[call-overload]
    task(timeout_seconds="60")  # type: ignore[call-overload]
    task(task_run_name=5)  # type: ignore[call-overload]
    task(task_run_name=lambda: "a")  # type: ignore[arg-type]
    task(log_prints="yes")  # type: ignore[call-overload]
    task(on_completion="tell")  # type: ignore[arg-type]
    task(on_failure=tell_flow)  # type: ignore[arg-type]
    task(on_crashed=[tell_flow])  # type: ignore[list-item]
    task(on_crashed=lambda: None)  # type: ignore[arg-type,misc]
    task(resources={"cpu": None})  # type: ignore[dict-item]
    task(resources=4)  # type: ignore[call-overload]
    task(runner_options={"dask": 1})  # type: ignore[dict-item]
    task(keep_task_runs=1)  # type: ignore[call-overload]
    task(task_runner="dask")  # type: ignore[call-overload]
    task(flow_run_name="a")  # type: ignore[call-overload]
    task(on_body_error="wait")  # type: ignore[call-overload]


def refuses_what_flows_do_not_take() -> None:
    flow(name=5)  # type: ignore[call-overload]
    flow(tags=[5])  # type: ignore[list-item]
    flow(retries="1")  # type: ignore[call-overload]
    flow(retry_delay_seconds="1")  # type: ignore[arg-type]
    flow(retry_jitter=None)  # type: ignore[call-overload]
    flow(timeout_seconds="60")  # type: ignore[call-overload]
    flow(flow_run_name=b"a")  # type: ignore[call-overload]
    flow(log_prints=None)
    flow(on_completion=tell_task)  # type: ignore[arg-type]
    flow(on_failure=[print, tell_task])  # type: ignore[list-item]
    flow(on_crashed=5)  # type: ignore[call-overload]
    flow(on_body_error="stop")  # type: ignore[call-overload]
    flow(keep_task_runs=None)  # type: ignore[call-overload]
    flow(retry_on=OSError)  # type: ignore[call-overload]
    flow(crash_retries=1)  # type: ignore[call-overload]
    flow(resources={"cpu": 1})  # type: ignore[call-overload]
    flow(task_run_name="a")  # type: ignore[call-overload]


def changes_options() -> None:
    assert_type(parse.with_options(retry_on=OSError, on_failure=tell_task)("a"), list[str])
    assert_type(census.with_options(timeout_seconds=3, on_crashed=[print])("a"), int)

    parse.with_options(on_failure=tell_flow)  # type: ignore[arg-type]
    census.with_options(on_body_error="stop")  # type: ignore[arg-type]


def backs_off() -> None:
    exponential_backoff(1.0, factor=3)
    exponential_backoff("1")  # type: ignore[arg-type]
    exponential_backoff(1.0, 3.0)  # type: ignore[call-arg]
