"""What Dask's workers execute, imported there; the scheduler imports it too, and executes none."""

import os
import pickle
import platform
import threading
from typing import Any

from runnerstone.programs import Program
from runnerstone.task_runners import Pickled, run_parcel


def load_program(pickled: bytes) -> Program:
    """A large program: a key of its own, so that each worker gets it once."""
    program: Program = pickle.loads(pickled)
    return program


def run_call(
    contents: bytes | Pickled,
    kept: tuple[Pickled, ...],
    program: Program | bytes,
    *,
    topic: str,
    limit: int,
) -> Pickled | None:
    """Execute a call and tell its begin and its outcome as events; a large value stays here.

    Args:
        contents: The contents of the call's parcel, pickled if they came in the graph.
        kept: The values that the parcel's references stand for.
        program: The call's; the digest of one that the scheduler keeps.
        topic: Whom to tell: the topic of the driver's client.
        limit: Size up to which a value goes with the outcome, in bytes.

    Returns:
        The value, if it stays; None if it went.
    """
    from distributed import get_worker  # loaded in a worker

    worker = get_worker()
    key = worker.get_current_task()
    worker.log_event(topic, ["started", key, where()])

    def tell(progress: bytes) -> None:
        worker.log_event(topic, ["progressed", key, progress])

    if isinstance(program, bytes):
        program = Program.arrived(program) or _fetched(program, worker, topic)
    loaded: Pickled = pickle.loads(contents) if isinstance(contents, bytes) else contents
    outcome = run_parcel(program, loaded, *kept, tell=tell)
    sent, value = outcome.parted(limit)
    nbytes = 0 if value is None else value.nbytes
    # Before the call's end: the two go the same way, in order.
    worker.log_event(topic, ["ended", key, pickle.dumps(sent, protocol=5), nbytes])
    return value


def where() -> str:
    """The calling thread's place, as outcomes tell it."""
    return f"{platform.node()}:{os.getpid()}/{threading.current_thread().name}"


def place_of(digest: bytes, topic: str) -> list[str]:
    """Where the scheduler keeps a program, in what Dask calls metadata."""
    return [topic, digest.hex()]


def _fetched(digest: bytes, worker: Any, topic: str) -> Program:
    """A program that this process has not seen, from the scheduler."""
    from distributed.utils import sync  # loaded in a worker

    get = worker.scheduler.get_metadata
    program: Program = pickle.loads(sync(worker.loop, get, keys=place_of(digest, topic)))
    return program
