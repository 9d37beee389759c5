"""Run a flow one task at a time, and in its midst another on a Dask cluster.

    python examples/mixed_runners.py

It needs ``runnerstone-dask``. Each flow has a task runner of its own: the subflow's cluster starts
when the subflow does, in its place in the log, and ends with it.
"""

from runnerstone import flow, task
from runnerstone.task_runners import DaskTaskRunner, SequentialTaskRunner


@task
def hello_local() -> None:
    print("Hello!")


@task
def hello_dask() -> None:
    print("Hello from Dask!")


@flow(task_runner=SequentialTaskRunner())
def sequential_flow() -> None:
    hello_local()
    dask_subflow()
    hello_local()


@flow(task_runner=DaskTaskRunner())
def dask_subflow() -> None:
    hello_dask()


if __name__ == "__main__":
    sequential_flow()
