"""What the plugin announces; it is loaded to list the task runners, and imports nothing heavy."""

from runnerstone.task_runners import Capabilities, TaskRunnerSpec, hookimpl


@hookimpl
def runnerstone_task_runners() -> list[TaskRunnerSpec]:
    """Announce ``dask``."""
    return [
        TaskRunnerSpec(
            name="dask",
            path="runnerstone_dask.runner:DaskTaskRunner",
            summary="On a Dask cluster, of this machine or by its address.",
            capabilities=Capabilities(distributed=True, gains_from_packing=True),
        )
    ]
