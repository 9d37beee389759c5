"""The built-in task runners, announced as a plugin announces its own."""

from runnerstone.contracts import Capabilities, TaskRunnerSpec
from runnerstone.hookimpls import hookimpl


@hookimpl
def runnerstone_task_runners() -> list[TaskRunnerSpec]:
    """Announce ``sequential`` and ``concurrent``; no plugin can take these names."""
    return [
        TaskRunnerSpec(
            name="concurrent",
            path="runnerstone._concurrent:ConcurrentTaskRunner",
            summary="On threads of this process, coroutines on one event loop. The default.",
            capabilities=Capabilities(shares_memory=True, cancels_queued=True, interrupts=True),
        ),
        TaskRunnerSpec(
            name="sequential",
            path="runnerstone._sequential:SequentialTaskRunner",
            summary="One after another, in the flow's own thread.",
            capabilities=Capabilities(parallel=False, shares_memory=True, interrupts=True),
        ),
    ]
