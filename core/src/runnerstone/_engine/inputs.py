"""What fills the slots in a call's arguments: futures, marked ones, and quoted values."""

from typing import Any, Final

import attrs

from runnerstone._pickles import dump, safe_repr
from runnerstone._problems import NoValue, Skip
from runnerstone.annotations import AllowFailure, Quote, unmapped
from runnerstone.contents import Pickled, Reference
from runnerstone.errors import TaskFailedError
from runnerstone.futures import TaskFuture
from runnerstone.states import State

Input = TaskFuture[Any] | AllowFailure | Quote

FOR_CALLS: Final = frozenset({TaskFuture, AllowFailure, Quote})
# And what is looked for only to be refused.
INPUTS: Final = FOR_CALLS | {unmapped}


def future_of(item: Input) -> TaskFuture[Any] | None:
    """The future in it; None if it is a quoted value."""
    if isinstance(item, TaskFuture):
        return item
    return item.future if isinstance(item, AllowFailure) else None


def value_of(item: Input) -> Any:
    """What code in the driver gets for it, its future being final.

    That is a value, or the exception of a failure that is allowed; others have to be ruled out.
    """
    if type(item) is TaskFuture:  # the most frequent first: there may be a million
        return item.result()
    if isinstance(item, Quote):
        return item.value
    future = item if isinstance(item, TaskFuture) else item.future
    return future.result() if future._problem is None else future._problem.error()


def skip_of(blocker: TaskFuture[Any], state: State) -> Skip:
    """Why a run was skipped.

    Args:
        blocker: The future that it needed and that did not complete.
        state: The skipped run's.
    """
    cause = blocker._problem
    message = state.message or ""
    if isinstance(cause, Skip):
        return attrs.evolve(cause, message=message)
    cause = cause or NoValue(blocker.state)
    return Skip(message, blocker.task_run, blocker._owner.run.id, cause)


def content_of(item: Input, consumer: object) -> Pickled | Reference:
    """The same for a call that travels: pickled, or where it is on the cluster.

    Args:
        item: What fills a slot.
        consumer: The engine whose call it is for.
    """
    if isinstance(item, Quote):
        return dump(item.value, snapshot=True)
    future = item if isinstance(item, TaskFuture) else item.future
    if future._problem is not None:
        return _dump_error(future._problem.error())
    content = future._content
    if isinstance(content, Pickled):
        return content
    if isinstance(content, Reference):
        return content if future._owner is consumer else future._owner.fetch(future)
    return dump(content)


def _dump_error(error: BaseException) -> Pickled:
    try:
        return dump(error)
    except Exception:  # noqa: BLE001  # whatever its __reduce__ raises
        return dump(TaskFailedError(f"the task raised {safe_repr(error)}"))
