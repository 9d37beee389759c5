"""The task runner ``dask``: on a Dask cluster, its own or one that runs already.

::

    from runnerstone import flow
    from runnerstone_dask import DaskTaskRunner


    @flow(task_runner=DaskTaskRunner(address="tcp://scheduler.example:8786"))
    def census(): ...
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runnerstone_dask.runner import DaskTaskRunner

__all__ = ["DaskTaskRunner"]


def __getattr__(name: str) -> Any:
    """The class, imported when it is asked for: listing the task runners loads this package."""
    if name == "DaskTaskRunner":
        from runnerstone_dask.runner import DaskTaskRunner

        return DaskTaskRunner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
