"""Thousands of task runs from several threads, with random graphs, delays, failures and cancelling.

``RUNNERSTONE_TEST_STRESS`` says how many rounds there are; each has a seed of its own.
"""

import asyncio
import contextvars
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from runnerstone import flow, task
from runnerstone.errors import UpstreamNotCompletedError
from runnerstone.task_runners import Capabilities, ConcurrentTaskRunner, TaskRunner, relay

ROUNDS = int(os.environ.get("RUNNERSTONE_TEST_STRESS", "8"))
RUNS = 1_600
SUBMITTERS = 4
RETRIES = 2
PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong


class PoolTaskRunner(TaskRunner):
    """A standard pool of threads, whose ends are posted."""

    max_workers: int = 4

    capabilities = Capabilities(shares_memory=True)

    def start(self):
        self._pool = ThreadPoolExecutor(self.max_workers)

    def submit(self, call, report):
        relay(self._pool.submit(call, *call.upstream), report)

    def stop(self):
        self._pool.shutdown()


class HastyTaskRunner(PoolTaskRunner):
    """Executes every other call inside of ``submit``, and reports every end twice."""

    def submit(self, call, report):
        if call.number % 2:
            self._execute(call, report)
        else:
            self._pool.submit(self._execute, call, report)

    def _execute(self, call, report):
        report.started()
        outcome = call(*call.upstream)
        report.done(outcome)
        report.post(outcome)


class Node(SimpleNamespace):
    """What is planned for one task run, and what came of it; the engine does not look into it."""


class Plan:
    """One random flow."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.nodes: list[Node] = []
        self.active: set[int] = set()
        self.most_active = 0
        self.strays: list[str] = []
        self.tasks = {
            (is_async, delay): task(name="node", retries=RETRIES, retry_delay_seconds=delay)(
                self.attempt_async if is_async else self.attempt
            )
            for is_async in (False, True)
            for delay in (0, 0.0005)
        }

    def submit_share(self, count: int) -> None:
        for _ in range(count):
            with self._lock:
                node = self._draw()
            submit = self.tasks[node.is_async, node.retry_delay].submit
            upstream = {"deep": [it.future for it in node.upstream]}
            waits_for = [it.future for it in node.waits_for]
            node.future = submit(node, upstream, wait_for=waits_for)
            node.future.add_done_callback(node.callbacks.append)
            with self._lock:
                self.nodes.append(node)
            if node.cancel_after is not None:
                time.sleep(node.cancel_after)
                node.future.cancel()

    def _draw(self) -> Node:
        dice = self._random
        known = self.nodes[-50:] if dice.random() < 0.7 else self.nodes
        chosen = dice.sample(known, min(len(known), dice.choice([0, 0, 1, 2, 5])))
        split = dice.randint(0, len(chosen))
        return Node(
            number=dice.getrandbits(60),
            failures=dice.choice([0] * 40 + [1, 1, 2, 2, RETRIES + 1]),
            delay=dice.choice([0, 0, 0, 0.0005]),
            is_async=dice.random() < 0.2,
            retry_delay=dice.choice([0, 0.0005]),
            cancel_after=dice.choice([None] * 30 + [0, 0.0005]),
            upstream=chosen[:split],
            waits_for=chosen[split:],
            bodies=[],  # an entry an attempt
            ended=[],  # likewise, at its end
            callbacks=[],
        )

    def attempt(self, node, values):
        with self._lock:
            if node.cancel_after is None:  # what is cancelled loses its place, and may go on
                self.active.add(node.number)
            self.most_active = max(self.most_active, len(self.active))
        try:
            self._begin(node, values)
            time.sleep(node.delay)
            return self._end(node)
        finally:
            with self._lock:
                self.active.discard(node.number)

    async def attempt_async(self, node, values):
        self._begin(node, values)
        await asyncio.sleep(node.delay)
        return self._end(node)

    def _begin(self, node, values):
        node.bodies.append(len(node.bodies) + 1)
        if values["deep"] != [it.number for it in node.upstream]:
            self.strays.append(f"{node.number} got {values}")
        for it in (*node.upstream, *node.waits_for):
            if not it.future.done() or not it.ended:
                self.strays.append(f"{node.number} ran before {it.number}")

    def _end(self, node):
        node.ended.append(len(node.bodies))
        if len(node.bodies) <= node.failures:
            raise ValueError(node.number)
        return node.number


@pytest.mark.usefixtures("restless_threads")
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_every_run_ends_as_its_body_and_its_upstream_say(seed):
    workers = 1 + seed % 8
    runner = (ConcurrentTaskRunner, ConcurrentTaskRunner, PoolTaskRunner, HastyTaskRunner)[seed % 4]
    plan = Plan(seed)

    @flow(task_runner=runner(max_workers=workers), keep_task_runs=RUNS)
    def body():
        threads = [
            threading.Thread(
                target=contextvars.copy_context().run, args=(plan.submit_share, RUNS // SUBMITTERS)
            )
            for _ in range(SUBMITTERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    before = set(threading.enumerate())
    run = body.run()

    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)  # one that executed what was cancelled was not waited for
    assert set(threading.enumerate()) == before
    assert plan.strays == []
    assert len(plan.nodes) == run.submitted == len(run.task_runs) == RUNS
    assert Counter(node.future.state.type for node in plan.nodes) == run.counts
    assert [it.index for it in run.task_runs] == list(range(RUNS))
    if runner is ConcurrentTaskRunner:
        assert plan.most_active <= workers
    for node in plan.nodes:
        assert node.callbacks == [node.future]
        check(node)


def check(node):
    """Assert that a run ended as was planned."""
    state, upstream = node.future.state, (*node.upstream, *node.waits_for)
    if state.is_cancelled():
        assert node.cancel_after is not None
        assert len(node.bodies) <= RETRIES + 1
    elif not all(it.future.state.is_completed() for it in upstream):
        assert state.name == "NotReady"
        assert node.bodies == []
        assert isinstance(node.future.exception(), UpstreamNotCompletedError)
    elif node.failures > RETRIES:
        assert state.is_failed()
        assert node.bodies == [1, 2, 3]
        assert node.future.task_run.attempts == 3
        assert str(node.future.exception()) == str(node.number)
    else:
        assert state.is_completed()
        assert node.bodies == list(range(1, node.failures + 2))
        assert node.future.task_run.attempts == node.failures + 1
        assert node.future.result() == node.number


@pytest.mark.usefixtures("restless_threads")
def test_many_short_flow_runs_start_and_stop_their_threads():
    @task
    def number(value):
        return value

    @task
    async def number_async(value):
        return value

    @flow(task_runner=ConcurrentTaskRunner(max_workers=3))
    def short():
        first = number(1)
        return [first, number(first), number_async(first), number(number_async(2))]

    before = set(threading.enumerate())
    results = [short() for _ in range(25 * ROUNDS)]

    assert results == [[1, 1, 1, 2]] * (25 * ROUNDS)
    assert set(threading.enumerate()) == before


@pytest.mark.usefixtures("restless_threads")
def test_retries_at_once_on_one_thread_and_many_are_all_made():
    attempts = Counter()

    @task(retries=RETRIES)
    def flaky(number):
        attempts[number] += 1
        if attempts[number] <= RETRIES:
            raise ValueError(number)
        return number

    for number in range(60 * ROUNDS):
        runner = ConcurrentTaskRunner(max_workers=1 + number % 8)
        assert flow(task_runner=runner)(lambda number=number: flaky(number))() == number

    assert set(attempts.values()) == {RETRIES + 1}
