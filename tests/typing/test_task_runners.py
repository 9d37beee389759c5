"""A task runner's annotated fields are settings for its users; its author overrides methods."""

from typing import assert_type

import attrs

from runnerstone import flow
from runnerstone.task_runners import (
    Capabilities,
    ConcurrentTaskRunner,
    Outcome,
    Reference,
    Report,
    SequentialTaskRunner,
    TaskCall,
    TaskRunner,
    TaskRunnerSpec,
    hookimpl,
    resolve_task_runner,
)


class PoolTaskRunner(TaskRunner):
    address: str
    max_workers: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    label: str = "pool"

    capabilities = Capabilities(kills=True)

    def start(self) -> None:
        self._calls: list[TaskCall] = []

    def submit(self, call: TaskCall, report: Report) -> None:
        self._calls.append(call)
        report.started("here")
        report.done(assert_type(call(*call.upstream), Outcome))

    def stop(self) -> None:
        self._calls.clear()


class BigPoolTaskRunner(PoolTaskRunner):
    depth: int = 1


class ForgetfulTaskRunner(TaskRunner):
    def submit(self, call: TaskCall) -> None:  # type: ignore[override]
        """Have no way to report."""


def gives_settings() -> None:
    runner = PoolTaskRunner(address="tcp://pool", max_workers=2)

    assert_type(runner.max_workers, int)
    assert_type(runner.copy_for_run(), PoolTaskRunner)
    assert_type(BigPoolTaskRunner(address="tcp://pool", depth=2).address, str)
    assert_type(ConcurrentTaskRunner(max_workers=None).max_workers, int | None)

    PoolTaskRunner()  # type: ignore[call-arg]
    PoolTaskRunner("tcp://pool")  # type: ignore[call-arg]
    PoolTaskRunner(address="tcp://pool", max_worker=2)  # type: ignore[call-arg]
    PoolTaskRunner(address=5)  # type: ignore[arg-type]
    SequentialTaskRunner(max_workers=2)  # type: ignore[call-arg]
    TaskRunner()  # type: ignore[abstract]


def chooses_it() -> None:
    runner = PoolTaskRunner(address="tcp://pool")

    assert_type(flow(task_runner=runner)(len)("abc"), int)
    assert_type(flow(task_runner=BigPoolTaskRunner)(len)("abc"), int)
    assert_type(resolve_task_runner("sequential"), TaskRunner)


@hookimpl
def runnerstone_task_runners() -> list[TaskRunnerSpec]:
    return [
        TaskRunnerSpec(
            name="pool",
            path="package.module:PoolTaskRunner",
            summary="On a pool.",
            capabilities=PoolTaskRunner.capabilities,
        )
    ]


def reports(report: Report, outcome: Outcome) -> None:
    report.post(outcome)
    report.crashed(None, "worker 3 died")

    report.done(5)  # type: ignore[arg-type]
    report.crashed("worker 3 died")  # type: ignore[call-arg, arg-type]


def refers(reference: Reference) -> None:
    assert_type(reference.nbytes, int | None)
    Reference("handle", print, nbytes=5)
    Reference("handle", 5)  # type: ignore[arg-type]
