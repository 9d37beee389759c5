"""What Dask's workers execute, imported there; the scheduler imports it too, and executes none."""

import pickle

from runnerstone.programs import Program
from runnerstone.task_runners import Pickled, run_parcel


def load_program(pickled: bytes) -> Program:
    """The program that calls depend on: a key of its own, so that each worker gets it once."""
    program: Program = pickle.loads(pickled)
    return program


def run_call(
    program: Program,
    contents: bytes | Pickled,
    kept: tuple[Pickled, ...],
    *,
    topic: str,
    limit: int,
) -> Pickled | None:
    """Execute a call and tell its outcome as an event; the value stays here if it is large.

    Args:
        program: The call's.
        contents: The contents of the call's parcel, pickled if they came in the graph.
        kept: The values that the parcel's references stand for.
        topic: Whom to tell: the topic of the driver's client.
        limit: Size up to which a value goes with the outcome, in bytes.

    Returns:
        The value, if it stays; None if it went.
    """
    from distributed import get_worker  # loaded in a worker

    if isinstance(contents, bytes):
        contents = pickle.loads(contents)
    outcome = run_parcel(program, contents, *kept)
    sent, value = outcome.parted(limit)
    worker = get_worker()
    event = [
        worker.get_current_task(),
        pickle.dumps(sent, protocol=5),
        0 if value is None else value.nbytes,
    ]
    worker.log_event(topic, event)  # before the call's end: the two go the same way, in order
    return value
