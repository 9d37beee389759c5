"""Values on Ray: what comes to the driver, and what stays."""

import re
from collections.abc import Sequence

import numpy as np
import pytest

from runnerstone import flow, task
from runnerstone.task_runners import Pickled, Reference
from runnerstone_ray import RayTaskRunner

pytestmark = pytest.mark.timeout(120)


@task
def make(size: int) -> bytes:
    return bytes(size)


@task
def ones(count: int) -> np.ndarray:
    return np.ones(count)


@task
def first_of(content: bytes) -> int:
    return content[0]


@task
def is_writable(array: np.ndarray) -> bool:
    return array.flags.writeable


def test_array_stays_on_the_cluster_and_is_read_only_downstream(attached):
    @flow(task_runner=attached)
    def passing() -> bool:
        return is_writable(ones(100_000))

    assert passing() is False


def test_large_argument_arrives(attached):
    @flow(task_runner=attached)
    def sending() -> bool:
        return is_writable(np.ones(1_000_000))

    assert sending() is False


def test_more_than_ray_is_given_at_once_arrives(attached):
    contents = [bytes([number]) * 1_000_000 for number in range(80)]

    @flow(task_runner=attached)
    def sending() -> list[int]:
        return [first_of(content) for content in contents]

    assert sending() == [*range(80)]


def test_only_large_values_stay_behind(attached):
    sizes = []

    class Spy(RayTaskRunner):
        def fetch(self, references: Sequence[Reference]) -> list[Pickled]:
            sizes.extend(reference.nbytes for reference in references)
            return super().fetch(references)

    @flow(task_runner=Spy(address=attached.address))
    def fetching() -> list[int]:
        return [len(make.submit(size).result()) for size in (1000, 65_000, 66_000, 1_000_000)]

    assert fetching() == [1000, 65_000, 66_000, 1_000_000]
    assert [size // 1000 for size in sizes] == [66, 1000]


CHAIN = """
    import resource

    import numpy as np

    from runnerstone import flow, task


    @task
    def make():
        return np.ones(25_000_000)


    @task
    def add_one(array):
        return array + 1


    @task
    def mean(array):
        return float(array.mean())


    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


    @flow(task_runner="ray")
    def chain():
        mean(np.ones(10)).wait()
        before = peak()
        array = make()
        for _ in range(9):
            array = add_one(array)
        value = mean(array).result()
        print("grown by", peak() - before, "MiB")
        return value


    print("mean", chain())
"""


def test_chain_over_a_large_array_does_not_pass_through_the_driver(script):
    printed = script.run(CHAIN)

    assert "mean 10.0" in printed
    assert int(re.search(r"grown by (-?\d+) MiB", printed)[1]) < 50


def test_array_that_a_flow_returns_outlives_the_cluster(script):
    printed = script.run(
        """
        import numpy as np

        from runnerstone import flow, task

        @task
        def make():
            return np.ones(5_000_000)

        @flow(task_runner="ray")
        def returning():
            return [make(), make()]

        first = returning()
        second = returning()
        print("sum", sum(array.sum() for array in first + second))
        """
    )

    assert "sum 20000000.0" in printed
