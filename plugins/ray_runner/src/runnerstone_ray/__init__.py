"""The task runner ``ray``: on a Ray cluster, of this machine or of many.

::

    from runnerstone import flow
    from runnerstone_ray import RayTaskRunner


    @flow(task_runner=RayTaskRunner(init_kwargs={"num_cpus": 4}))
    def census(): ...
"""

from runnerstone_ray.runner import RayTaskRunner

__all__ = ["RayTaskRunner"]
