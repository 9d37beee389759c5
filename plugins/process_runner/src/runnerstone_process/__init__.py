"""The task runner ``process``: real parallelism on one machine.

::

    from runnerstone import flow
    from runnerstone_process import ProcessTaskRunner


    @flow(task_runner=ProcessTaskRunner(max_workers=4))
    def census(): ...
"""

from runnerstone_process.runner import ProcessTaskRunner

__all__ = ["ProcessTaskRunner"]
