"""What the plugin announces; it is loaded to list the task runners, and imports nothing heavy."""

from runnerstone.task_runners import Capabilities, TaskRunnerSpec, hookimpl


@hookimpl
def runnerstone_task_runners() -> list[TaskRunnerSpec]:
    """Announce ``ray``."""
    return [
        TaskRunnerSpec(
            name="ray",
            path="runnerstone_ray.runner:RayTaskRunner",
            summary="On a Ray cluster, of this machine or by its address.",
            capabilities=Capabilities(
                distributed=True, cancels_queued=True, kills=True, gains_from_packing=True
            ),
        )
    ]
