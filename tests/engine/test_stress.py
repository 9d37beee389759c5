"""Thousands of task runs from several threads, with random graphs, delays, failures and cancelling.

``RUNNERSTONE_TEST_STRESS`` says how many rounds there are; each has a seed of its own.
"""

import contextvars
import os
import random
import sys
import threading
import time

import pytest

from runnerstone import flow, task
from runnerstone.task_runners import ConcurrentTaskRunner

ROUNDS = int(os.environ.get("RUNNERSTONE_TEST_STRESS", "8"))
RUNS = 600
SUBMITTERS = 3
ALWAYS = 99  # failures: more than there are attempts


@pytest.fixture
def _restless_threads():
    """Have Python switch between threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Plan:
    """One random flow: what is submitted, how often each body fails, and how often each ran."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.runs = []  # number, failures, upstream, future
        self.attempts = {}

    def submit_all(self, node, numbers):
        for number in numbers:
            with self.lock:
                count = self.random.choice([0, 0, 1, 2, 5])
                upstream = self.random.sample(self.runs, min(count, len(self.runs)))
                failures = self.random.choice([0] * 8 + [1, 2, ALWAYS])
                chance, wait = self.random.random(), self.random.random()
            futures = [run[3] for run in upstream]
            future = node.submit(number, failures, 1e-4 * (chance > 0.8), {"upstream": futures})
            with self.lock:
                self.runs.append((number, failures, futures, future))
            if chance < 0.02:
                future.cancel()
            if wait < 0.02:
                future.wait(1e-4)

    def attempt(self, number):
        with self.lock:
            self.attempts[number] = self.attempts.get(number, 0) + 1
            return self.attempts[number]


@pytest.mark.usefixtures("_restless_threads")
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_every_run_ends_as_its_body_and_its_upstream_say(seed):
    plan = Plan(seed)

    @task(retries=2)
    def node(number, failures, delay, upstream):
        attempt = plan.attempt(number)
        time.sleep(delay)
        if attempt <= failures:
            raise ValueError(number)
        return number

    @flow(task_runner=ConcurrentTaskRunner(max_workers=1 + seed % 8))
    def body():
        share = RUNS // SUBMITTERS
        threads = [
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(plan.submit_all, node, range(k * share, (k + 1) * share)),
            )
            for k in range(SUBMITTERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    before = threading.enumerate()
    run = body.run()

    assert run.submitted == len(plan.runs) == RUNS
    assert sum(run.counts.values()) == RUNS
    assert [thread for thread in threading.enumerate() if thread not in before] == []
    for number, failures, upstream, future in plan.runs:
        state, attempts = future.state, plan.attempts.get(number, 0)
        if not all(it.state.is_completed() for it in upstream):
            assert state.is_skipped() or state.is_cancelled()
            assert attempts == 0
        elif failures == ALWAYS:
            assert state.is_cancelled() or (state.is_failed() and attempts == 3)
        else:
            assert state.is_cancelled() or (state.is_completed() and attempts == failures + 1)
