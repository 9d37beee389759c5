"""What users' code sees of the plugins' own modules."""

from collections.abc import Callable, Mapping
from typing import Any, assert_type

from runnerstone import flow
from runnerstone_dask import DaskTaskRunner
from runnerstone_process import ProcessTaskRunner
from runnerstone_ray import RayTaskRunner


@flow(task_runner=DaskTaskRunner(address="tcp://scheduler:8786"))
def on_dask() -> int:
    return 1


@flow(task_runner=ProcessTaskRunner)
def on_processes() -> int:
    return 1


assert_type(on_dask(), int)
assert_type(on_processes.with_options(task_runner=RayTaskRunner())(), int)

assert_type(DaskTaskRunner().cluster_kwargs, Mapping[str, Any])
assert_type(ProcessTaskRunner().max_workers, int | None)
assert_type(ProcessTaskRunner().initializer, Callable[[], object] | None)
assert_type(RayTaskRunner().address, str | None)

DaskTaskRunner(adress="tcp://scheduler:8786")  # type: ignore[call-arg]
ProcessTaskRunner(max_workers="two")  # type: ignore[arg-type]
RayTaskRunner("head:6379")  # type: ignore[call-arg]
