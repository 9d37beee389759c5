"""What runnerstone is told of the task runner."""

from runnerstone.task_runners import Capabilities, TaskRunnerSpec, hookimpl


@hookimpl
def runnerstone_task_runners() -> list[TaskRunnerSpec]:
    return [
        TaskRunnerSpec(
            name="acme",
            path="acme_runners.runner:AcmeTaskRunner",
            summary="On threads of the Acme Corporation.",
            capabilities=Capabilities(shares_memory=True),
        )
    ]
