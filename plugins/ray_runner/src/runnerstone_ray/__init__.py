"""The task runner ``ray``: on a Ray cluster, of this machine or of many.

::

    from runnerstone import flow
    from runnerstone_ray import RayTaskRunner


    @flow(task_runner=RayTaskRunner(init_kwargs={"num_cpus": 4}))
    def census(): ...
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runnerstone_ray.runner import RayTaskRunner

__all__ = ["RayTaskRunner"]


def __getattr__(name: str) -> Any:
    """The class, imported when it is asked for: listing the task runners loads this package."""
    if name == "RayTaskRunner":
        from runnerstone_ray.runner import RayTaskRunner

        return RayTaskRunner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
