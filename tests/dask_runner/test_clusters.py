"""Clusters that the task runner starts, and ends."""

import multiprocessing
import os
import urllib.request

import pytest

from runnerstone import flow, task
from runnerstone.errors import TaskRunnerStartError
from runnerstone.testing._leftovers import Census
from runnerstone_dask import DaskTaskRunner

pytestmark = pytest.mark.timeout(120)

SMALL = {"n_workers": 1, "threads_per_worker": 1}


@task
def tell_process() -> int:
    return os.getpid()


@task
def make_large() -> bytes:
    return bytes(1_000_000)


def test_default_is_a_local_cluster_in_other_processes(caplog):
    @flow(task_runner=DaskTaskRunner(cluster_kwargs=SMALL))
    def asking() -> int:
        return tell_process()

    with caplog.at_level("INFO", logger="runnerstone"):
        assert asking() != os.getpid()

    assert "Creating a new Dask cluster with `distributed.deploy.local.LocalCluster`" in caplog.text


def test_dashboard_has_a_page_on_this_machine_alone(caplog):
    pages = []

    @flow(task_runner=DaskTaskRunner(cluster_kwargs=SMALL))
    def looking() -> str:
        tell_process.submit().wait()
        _, _, link = caplog.text.partition("The Dask dashboard is available at ")
        link = link.split()[0]
        with urllib.request.urlopen(link, timeout=30) as page:
            pages.append((link, page.status, page.read()))
        return "plain value"

    with caplog.at_level("INFO", logger="runnerstone"):
        looking()

    ((link, status, text),) = pages
    assert link.startswith("http://127.0.0.1:")
    assert status == 200
    assert b"bokeh" in text


@pytest.mark.parametrize(
    "cluster_class",
    ["distributed.LocalCluster", "distributed.deploy.local:LocalCluster", None],
)
def test_cluster_class_is_given_by_its_path_or_itself(cluster_class):
    from distributed import LocalCluster

    made = []

    def make(**options: object) -> LocalCluster:
        made.append(options)
        return LocalCluster(dashboard_address="127.0.0.1:0", **options)

    runner = DaskTaskRunner(
        cluster_class=cluster_class or make,
        cluster_kwargs=SMALL | ({"dashboard_address": "127.0.0.1:0"} if cluster_class else {}),
    )

    @flow(task_runner=runner)
    def asking() -> int:
        return tell_process()

    assert asking() != os.getpid()
    assert len(made) == (cluster_class is None)


def test_cluster_class_that_is_not_there_is_named():
    @flow(task_runner=DaskTaskRunner(cluster_class="nowhere.KubeCluster"))
    def asking() -> int:
        return tell_process()

    with pytest.raises(TaskRunnerStartError, match=r"'nowhere.KubeCluster'.*No module named"):
        asking()


def test_cluster_that_cannot_be_started_says_why():
    def make() -> None:
        raise OSError("no quota left")

    @flow(task_runner=DaskTaskRunner(cluster_class=make))
    def asking() -> int:
        return tell_process()

    with pytest.raises(TaskRunnerStartError, match="no quota left"):
        asking()


@pytest.mark.parametrize("is_async", [False, True])
def test_new_cluster_adapts(is_async):
    from distributed import LocalCluster

    class AsyncCluster(LocalCluster):
        async def adapt(self, **options: object) -> object:
            return super().adapt(**options)

    runner = DaskTaskRunner(
        cluster_class=AsyncCluster if is_async else LocalCluster,
        cluster_kwargs={
            "n_workers": 0,
            "threads_per_worker": 1,
            "dashboard_address": "127.0.0.1:0",
        },
        adapt_kwargs={"minimum": 0, "maximum": 2},
    )

    @flow(task_runner=runner)
    def asking() -> int:
        return tell_process()

    assert asking() != os.getpid()


def test_live_cluster_is_used_and_left():
    from distributed import LocalCluster

    with LocalCluster(**SMALL, dashboard_address="127.0.0.1:0") as cluster:

        @flow(task_runner=DaskTaskRunner(cluster=cluster))
        def asking() -> int:
            return tell_process()

        assert asking() == asking()
        assert str(cluster.status) == "Status.running"
        plugins = cluster.scheduler.plugins
        assert not [name for name in plugins if name.startswith("runnerstone")]
        topics = cluster.scheduler._broker._topics
        assert not [name for name in topics if name.startswith("runnerstone")]
        assert not cluster.scheduler.tasks


def test_nothing_is_left_of_own_clusters():
    @flow(task_runner=DaskTaskRunner(cluster_kwargs=SMALL))
    def failing() -> None:
        make_large.submit().wait()
        raise ValueError("in the body")

    failing.run()  # what a process has once may stay
    census = Census()
    before = dict(os.environ)

    assert failing.run().state.is_failed()

    assert not census.newcomers(60)
    assert dict(os.environ) == before


def test_tasks_may_start_processes_of_their_own():
    @task
    def use_pool() -> list[int]:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            return pool.map(abs, [-1, -2])

    @flow(task_runner=DaskTaskRunner(cluster_kwargs=SMALL))
    def pooling() -> object:
        return use_pool()

    assert pooling() == [1, 2]


def test_what_is_made_and_is_no_cluster_is_shown():
    @flow(task_runner=DaskTaskRunner(cluster_class=dict))
    def asking() -> int:
        return tell_process()

    with pytest.raises(TaskRunnerStartError, match=r"it made \{\}, which is no cluster"):
        asking()


UNGUARDED = """
    from runnerstone import flow, task

    class Box:
        def __init__(self, value):
            self.value = value

    @task
    def box(value):
        return Box(value + 1)

    @task
    def unbox(box):
        assert isinstance(box, Box)
        return (lambda: box.value)()

    @flow(task_runner="dask")
    def boxes():
        return [unbox(box(number)) for number in range(3)]

    print(boxes())
"""


def test_script_needs_no_guard(start_script):
    out, err = start_script(UNGUARDED).finish()

    assert out == "[1, 2, 3]\n", err
    assert err.count("Beginning flow run") == 1


INTERRUPTED = """
    import time
    from runnerstone import flow, task

    @task
    def wait(number):
        time.sleep(3)
        return number

    @flow(task_runner="dask")
    def waiting():
        futures = [wait.submit(number) for number in range(40)]
        while futures[0].state.name == "Pending":
            time.sleep(0.01)  # the news that it runs is on its way
        print("running", flush=True)
        return futures

    waiting()
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_the_flow_and_leaves_no_process(start_script, times):
    script = start_script(INTERRUPTED)
    assert script.process.stdout.readline() == "running\n"

    script.press_ctrl_c()
    if times == 2:
        for line in script.process.stderr:
            if "waits for" in line:
                break
        script.press_ctrl_c()
    _, err = script.finish()

    assert err.rstrip().endswith("KeyboardInterrupt"), err
    assert not script.left_behind()
