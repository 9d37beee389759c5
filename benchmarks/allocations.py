"""Counts what is held in memory for a task run; see `counts`."""

import gc
import sys
import threading
import tracemalloc

from benchmarks.threads import noop
from runnerstone import TaskFuture, flow, task
from runnerstone.task_runners import ConcurrentTaskRunner

RUNS = 2_000
THREADS = 2


@task
def pass_gate(gate: threading.Event) -> None:
    gate.wait()


def memory() -> dict[str, float]:
    """What is held for a run that waits in the runner, and for one that has ended."""

    @flow(task_runner=ConcurrentTaskRunner(max_workers=THREADS))
    def hold(*, traces: bool) -> tuple[float, float]:
        gate = threading.Event()
        size = traced if traces else sys.getallocatedblocks
        for future in [pass_gate.submit(gate) for _ in range(THREADS)]:
            assert not future.done()  # all threads are busy from here on
        waiting: list[TaskFuture[None]] = [noop.submit()]  # what is made once
        gc.collect()
        before = size()
        waiting += [noop.submit() for _ in range(RUNS)]
        gc.collect()
        pending = size()
        gate.set()
        for future in waiting:
            future.result()
        gc.collect()
        return (pending - before) / RUNS, (size() - before) / RUNS

    pending_blocks, ended_blocks = hold(traces=False)
    tracemalloc.start()
    try:
        pending_bytes, ended_bytes = hold(traces=True)
    finally:
        tracemalloc.stop()
    return {
        "blocks_pending": pending_blocks,
        "blocks_ended": ended_blocks,
        "bytes_pending": pending_bytes,
        "bytes_ended": ended_bytes,
    }


def traced() -> int:
    """Bytes that Python has allocated since tracing began, and not freed."""
    return tracemalloc.get_traced_memory()[0]
