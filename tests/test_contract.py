"""The conformance suite, for the built-in runners and for two that only its tests have.

The process pool proves that calls travel; the keeper, that values can stay where they were made.
"""

import asyncio
import itertools
import multiprocessing
import pickle
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import attrs
import pytest

from runnerstone import flow, task
from runnerstone.errors import ResultGoneError, ValueLostError
from runnerstone.task_runners import (
    Capabilities,
    ConcurrentTaskRunner,
    Outcome,
    Pickled,
    Reference,
    Report,
    SequentialTaskRunner,
    TaskCall,
    TaskRunner,
    relay,
)
from runnerstone.testing import TaskRunnerContract

PATIENCE = 30.0
PROCESSES = multiprocessing.get_context(
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)
PROCESSES.set_forkserver_preload(["runnerstone.testing"])


class TestSequentialTaskRunner(TaskRunnerContract):
    patience_seconds = PATIENCE

    @pytest.fixture
    def task_runner(self):
        return SequentialTaskRunner()


class TestConcurrentTaskRunner(TaskRunnerContract):
    patience_seconds = PATIENCE

    @pytest.fixture
    def task_runner(self):
        return ConcurrentTaskRunner()


class TestStrictSequentialTaskRunner(TaskRunnerContract):
    patience_seconds = PATIENCE

    @pytest.fixture
    def task_runner(self):
        return SequentialTaskRunner(strict=True)


class TestConcurrentTaskRunnerWithOneWorker(TaskRunnerContract):
    patience_seconds = PATIENCE

    @pytest.fixture
    def task_runner(self):
        return ConcurrentTaskRunner(max_workers=1)

    def test_coroutines_are_not_counted(self, task_runner):
        all_run = asyncio.Barrier(100)

        @task
        async def meet():
            async with asyncio.timeout(PATIENCE):
                await all_run.wait()

        @flow(task_runner=task_runner)
        def hundred():
            for _ in range(100):
                meet()

        record = self.record_of(hundred)

        assert record.state.is_completed()


class ProcessPoolTaskRunner(TaskRunner):
    """As little as it takes to have calls run in other processes."""

    max_workers: int = 2

    capabilities = Capabilities()

    def start(self) -> None:
        self._lock = threading.Lock()
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.max_workers, mp_context=PROCESSES)

    def submit(self, call: TaskCall, report: Report) -> None:
        with self._lock:
            try:
                future = self._pool.submit(call, *call.upstream)
            except BrokenProcessPool:  # a process died, and it takes no more
                self._pool = self._new_pool()
                future = self._pool.submit(call, *call.upstream)
        relay(future, report)

    def slots(self) -> int:
        return self.max_workers

    def stop(self) -> None:
        if hasattr(self, "_pool"):
            self._pool.shutdown()


class TestProcessPoolTaskRunner(TaskRunnerContract):
    patience_seconds = PATIENCE

    @pytest.fixture
    def task_runner(self):
        return ProcessPoolTaskRunner()


class Store:
    """Where a `KeepingTaskRunner` keeps values, and what became of them."""

    def __init__(self):
        self.values = {}
        self.fetched = 0
        self.released = threading.Semaphore(0)
        self._handles = itertools.count()

    def put(self, value: Pickled) -> Reference:
        handle = next(self._handles)
        self.values[handle] = value
        return Reference(handle, self._release, nbytes=value.nbytes)

    def _release(self, handle: int) -> None:
        self.values.pop(handle, None)  # a test may have lost it
        self.released.release()


class KeepingTaskRunner(TaskRunner):
    """Runs pickled calls on threads, and keeps values above a limit behind references."""

    limit: int = attrs.field(default=1000, validator=attrs.validators.ge(0))
    store: Store | None = attrs.field(default=None, eq=False)

    capabilities = Capabilities()

    def __attrs_post_init__(self) -> None:
        self.capabilities = attrs.evolve(self.capabilities, inline_limit=self.limit)

    def start(self) -> None:
        self._store = self.store or Store()
        self._pool = ThreadPoolExecutor(2)

    def submit(self, call: TaskCall, report: Report) -> None:
        relay(self._pool.submit(self._run, pickle.dumps(call), call.upstream), report)

    def _run(self, pickled_call: bytes, upstream: Sequence[Pickled | Reference]) -> Outcome:
        call = pickle.loads(pickled_call)
        values = [value if type(value) is Pickled else self._kept(value) for value in upstream]
        outcome = call(*values)
        if type(outcome.value) is Pickled and outcome.value.nbytes > self.limit:
            return attrs.evolve(outcome, value=self._store.put(outcome.value))
        return pickle.loads(pickle.dumps(outcome))

    def _kept(self, reference: Reference) -> Pickled:
        if reference.handle not in self._store.values:
            raise ValueLostError(f"there is no {reference!r}")
        return self._store.values[reference.handle]

    def fetch(self, references: Sequence[Reference]) -> list[Pickled]:
        self._store.fetched += len(references)
        return [self._kept(reference) for reference in references]

    def share(self, value: Pickled) -> Reference:
        return self._store.put(value)

    def slots(self) -> int:
        return 2

    def stop(self) -> None:
        if hasattr(self, "_pool"):
            self._pool.shutdown()


class TestKeepingTaskRunner(TaskRunnerContract):
    patience_seconds = PATIENCE

    @pytest.fixture
    def task_runner(self):
        return KeepingTaskRunner()


class TestKeepingTaskRunnerThatKeepsAll(TaskRunnerContract):
    patience_seconds = PATIENCE

    @pytest.fixture
    def task_runner(self):
        return KeepingTaskRunner(limit=0)


LARGE = b"x" * 10_000


@task
def give(value):
    return value


@task
def size_of(value):
    return len(value)


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def keeper(store):
    return KeepingTaskRunner(store=store)


def test_reference_goes_from_task_to_task_without_being_fetched(keeper, store):
    @flow(task_runner=keeper)
    def sizes():
        value = give(give(LARGE))
        return [size_of(value), size_of([value, value])]

    result = sizes()

    assert result == [10_000, 2]
    assert store.fetched == 0


def test_value_up_to_the_limit_is_not_kept(keeper, store):
    @flow(task_runner=keeper)
    def small():
        value = give(b"x" * 100)
        value.wait()
        return value, len(store.values)

    assert small() == (b"x" * 100, 0)
    assert store.fetched == 0


def test_result_asked_for_twice_is_fetched_once(keeper, store):
    @flow(task_runner=keeper)
    def asking():
        value = give(LARGE)
        return [value.result() == LARGE, value.result() == LARGE, store.fetched]

    assert asking() == [True, True, 1]


def test_awaited_value_is_fetched(keeper, store):
    @flow(task_runner=keeper)
    async def asking():
        return await give.submit(LARGE)

    assert asyncio.run(asking()) == LARGE
    assert store.fetched == 1


def test_returned_futures_are_fetched_before_the_runner_stops(keeper, store):
    futures = []

    @flow(task_runner=keeper)
    def returning():
        futures.extend([give(LARGE), give(LARGE)])
        return {"first": futures[0]}

    assert returning() == {"first": LARGE}
    assert futures[0].result() == LARGE
    assert store.fetched == 1


def test_value_that_was_not_returned_is_gone_when_the_runner_has_stopped(keeper):
    futures = []

    @flow(task_runner=keeper)
    def leaving():
        futures.append(give(LARGE))
        return "plain value"

    leaving()

    assert futures[0].state.is_completed()
    with pytest.raises(
        ResultGoneError, match=f"the value of task run '{futures[0].name}' went away"
    ):
        futures[0].result()


def test_value_is_released_when_its_future_is_dropped(keeper, store):
    @flow(task_runner=keeper)
    def dropping():
        value = give(LARGE)
        value.wait()
        kept = len(store.values)
        del value
        return kept, store.released.acquire(timeout=PATIENCE), len(store.values)

    assert dropping() == (1, True, 0)


def test_value_is_released_when_its_last_consumer_is_over(keeper, store):
    @flow(task_runner=keeper)
    def consuming():
        value = give(LARGE)
        sizes = [size_of(value) for _ in range(3)]
        del value
        return sizes, store.released.acquire(timeout=PATIENCE), len(store.values)

    assert consuming() == ([10_000] * 3, True, 0)


def test_long_chain_keeps_few_values(keeper, store):
    most = []

    @flow(task_runner=keeper)
    def chain():
        value = give(LARGE)
        for _ in range(50):
            value = give(value)
            value.wait()
            most.append(len(store.values))
        return size_of(value)

    assert chain() == 10_000
    assert max(most) <= 4


def test_no_value_is_kept_once_the_flow_run_and_its_futures_are_over(keeper, store):
    @flow(task_runner=keeper)
    def both():
        return size_of(give(LARGE)), give(LARGE)

    record = both.run()

    assert record.state.is_completed()
    for _ in range(2):
        assert store.released.acquire(timeout=PATIENCE)
    assert store.values == {}


def test_lost_value_is_told_and_the_state_stays(keeper, store):
    @flow(task_runner=keeper)
    def losing():
        value = give(LARGE)
        value.wait()
        store.values.clear()
        with pytest.raises(ValueLostError, match="there is no <Reference 0>"):
            value.result()
        return value.state.name

    assert losing() == "Completed"


def test_flow_whose_returned_value_is_lost_crashes(keeper, store):
    @flow(task_runner=keeper)
    def losing():
        value = give(LARGE)
        value.wait()
        store.values.clear()
        return value

    record = losing.run()

    assert record.state.is_crashed()
    with pytest.raises(ValueLostError):
        record.result()


def test_subflow_on_another_runner_fetches_what_it_takes(keeper, store):
    other_store = Store()

    @flow(task_runner=KeepingTaskRunner(store=other_store))
    def child(give_future):
        return [size_of(give_future()), size_of([give_future()])]

    @flow(task_runner=keeper)
    def parent():
        value = give(LARGE)
        return child(lambda: value)

    assert parent() == [10_000, 1]
    assert store.fetched > 0
    assert other_store.fetched == 0


def test_task_on_another_runner_whose_upstream_is_lost_crashes(keeper, store):
    @flow(task_runner="concurrent")
    def child(give_future):
        return size_of(give_future())

    @flow(task_runner=keeper)
    def parent():
        value = give(LARGE)
        value.wait()
        store.values.clear()
        record = child.run(lambda: value)
        return [run.state.name for run in record.task_runs]

    assert parent() == ["Crashed"]
