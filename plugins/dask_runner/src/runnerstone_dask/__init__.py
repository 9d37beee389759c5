"""The task runner ``dask``: on a Dask cluster, its own or one that runs already.

::

    from runnerstone import flow
    from runnerstone_dask import DaskTaskRunner


    @flow(task_runner=DaskTaskRunner(address="tcp://scheduler.example:8786"))
    def census(): ...
"""

from runnerstone_dask.runner import DaskTaskRunner

__all__ = ["DaskTaskRunner"]
