"""What Ray's exceptions tell of a call that did not come back, or of a value that is gone."""

from collections.abc import Sequence
from typing import Any, Final

from runnerstone.task_runners import Crash, Parcel

# By name, so that Ray need not be imported; a class comes before those that it derives from.
_ENDS: Final = {
    "WorkerCrashedError": (
        "the Ray worker process that ran it died: it exited, crashed or was killed"
    ),
    "OutOfMemoryError": (
        "Ray killed the worker process that ran it, because its machine was about to run out of "
        "memory; fewer calls at once (num_cpus of the cluster) take less, and "
        "RAY_memory_usage_threshold moves the limit"
    ),
    "NodeDiedError": "the machine that ran it has left the Ray cluster, or its raylet process died",
    "LocalRayletDiedError": "Ray's raylet process on this machine died",
    "RuntimeEnvSetupError": "Ray could not set up the runtime_env that its worker process needs",
    "TaskCancelledError": "it was cancelled in Ray",
    "TaskUnschedulableError": "no machine of the Ray cluster can ever run it",
    "OutOfDiskError": "Ray had no room left, on the disk, for a value",
    "ObjectStoreFullError": "Ray had no room left for a value; object_store_memory gives it more",
    "AuthenticationError": "the Ray cluster refused this driver's token",
    "RaySystemError": "Ray itself failed",
}
# Those that another attempt may well be spared.
_LOSSES: Final = frozenset(
    {"WorkerCrashedError", "OutOfMemoryError", "NodeDiedError", "LocalRayletDiedError"}
)
_LOST: Final = "ObjectLostError"


def crash_of(error: BaseException, parcel: Parcel) -> Crash:
    """What to report of a call whose return value is an exception of Ray's.

    Args:
        error: The exception.
        parcel: What was sent.
    """
    # A call whose arguments are lost fails in the worker: Ray wraps the reason.
    reason = getattr(error, "cause", None) or error
    kinds = [kind.__name__ for kind in type(reason).__mro__]
    if _LOST in kinds:
        gone = [reference.handle.hex() for reference in parcel.kept]
        name = getattr(reason, "object_ref_hex", "")
        lost = tuple(parcel.slots[number] for number, hex_ in enumerate(gone) if hex_ == name)
        return Crash(f"a value that it needs is gone: {_in_brief(reason)}", error, lost=lost)
    for kind in kinds:
        if kind in _ENDS:
            message = f"{_ENDS[kind]} ({_in_brief(reason)})"
            return Crash(message, error, is_permanent=kind not in _LOSSES)
    return Crash(
        f"Ray could not run it: {_in_brief(reason)}; the machines of a cluster "
        "need runnerstone-ray, and what the task imports, in the driver's versions",
        error,
        is_permanent=True,
    )


def is_loss(error: Exception) -> bool:
    """Whether an exception of Ray's means that a value cannot be had any more."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return "RayError" in names and "GetTimeoutError" not in names


def describe(references: Sequence[Any], error: BaseException) -> str:
    """What to say of values that could not be fetched."""
    places = sorted({str(reference.where) for reference in references if reference.where})
    where = f", made by {', '.join(places)}," if places else ""
    return f"a value{where} is gone from the Ray cluster: {_in_brief(error)}"


def _in_brief(error: BaseException) -> str:
    """The exception's type and the first line of its text: Ray adds pages of advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
