"""Extension points: every hook that a plugin can implement.

A plugin is a module named by an entry point of the group ``runnerstone.task_runners``; it
implements a hook with a function of the hook's name, marked with `runnerstone.hookimpl`. It should
import nothing heavy: listing the runners loads it.
"""

from typing import Final

import pluggy

from runnerstone.contracts import TaskRunnerSpec
from runnerstone.hookimpls import PROJECT

__all__ = ["runnerstone_task_runners"]

TASK_RUNNER_GROUP: Final = "runnerstone.task_runners"

hookspec: Final = pluggy.HookspecMarker(PROJECT)


@hookspec
def runnerstone_task_runners() -> list[TaskRunnerSpec]:  # type: ignore[empty-body]  # a specification
    """Announce task runners: one spec for each entry point that names the plugin.

    Called in the driver, when a runner is first resolved by one of the plugin's names, and each
    time the installed runners are listed. If it raises, the plugin is set aside and the error is
    told.
    """
