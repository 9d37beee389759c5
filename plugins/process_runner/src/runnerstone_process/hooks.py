"""What the plugin announces; it is loaded to list the task runners, and imports nothing heavy."""

from runnerstone.task_runners import Capabilities, TaskRunnerSpec, hookimpl


@hookimpl
def runnerstone_task_runners() -> list[TaskRunnerSpec]:
    """Announce ``process``."""
    return [
        TaskRunnerSpec(
            name="process",
            path="runnerstone_process.runner:ProcessTaskRunner",
            summary="In processes of this machine, one call at a time in each.",
            capabilities=Capabilities(cancels_queued=True, kills=True, gains_from_packing=True),
        )
    ]
