"""The task runner ``process``: real parallelism on one machine.

::

    from runnerstone import flow
    from runnerstone_process import ProcessTaskRunner


    @flow(task_runner=ProcessTaskRunner(max_workers=4))
    def census(): ...
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runnerstone_process.runner import ProcessTaskRunner

__all__ = ["ProcessTaskRunner"]


def __getattr__(name: str) -> Any:
    """The class, imported when it is asked for: listing the task runners loads this package."""
    if name == "ProcessTaskRunner":
        from runnerstone_process.runner import ProcessTaskRunner

        return ProcessTaskRunner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
