"""How a flow has to end that is carried out as planned, and every run in it.

The rules once more, as short as can be: without time, threads and task runners.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import md5
from typing import Any

import attrs

from runnerstone import Cancelled, Completed, Crashed, Failed, State, StateType, TimedOut
from runnerstone.errors import (
    FlowCancelledError,
    FlowFailedError,
    FlowTimeoutError,
    TaskCancelledError,
    TaskCrashedError,
    TaskFailedError,
    TaskTimeoutError,
    UpstreamNotCompletedError,
)
from tests.engine import graphs
from tests.engine.graphs import (
    LARGE,
    Allowed,
    BrokenError,
    FlowNode,
    Given,
    Plan,
    Quoted,
    Raising,
    Ref,
    StateOf,
    TaskNode,
    filled,
    leaves,
    value_of,
)

GONE = "a large value that stayed where it was made"


@attrs.frozen(kw_only=True)
class End:
    """How a run ended, or what a state tells that stands alone.

    Attributes:
        state: The final state.
        name: The run's.
        value: What it gives.
        error: What it raises instead.
        attempts: How many there were.
        root: Where the trouble began, if it was skipped.
    """

    state: State
    name: str = ""
    value: Any = None
    error: BaseException | None = None
    attempts: int = 0
    root: "End | None" = None


class Model:
    """Carries out a plan.

    Attributes:
        ends: Of all runs, by number; those that were never submitted have none.
    """

    def __init__(self, node: FlowNode) -> None:
        self.ends: dict[int, End] = {}
        self.ends[node.number] = self._end_flow(node, None)

    def _end_flow(self, node: FlowNode, outer: Any) -> End:
        name = f"flow {node.number}"
        if blocker := self._blocker(leaves(node.argument)):
            return attrs.evolve(skipped(name, blocker), attempts=1)
        given = self._filled(node.argument, outer)
        submitted: list[End] = []
        numbers = Counter[str]()
        for inner in node.nodes:
            if isinstance(inner, FlowNode):
                end = self._end_flow(inner, given)
            else:
                task_name = "perform_async" if inner.is_async else "perform"
                run_name = f"{task_name}-{key(task_name)}-{numbers[task_name]}"
                numbers[task_name] += 1
                end = self._end_task(inner, run_name, given)
            self.ends[inner.number] = end
            submitted.append(end)
            if isinstance(inner, FlowNode) and inner.is_called and end.error:
                return raised(name, end.error)
        if isinstance(node.returned, Raising):
            return raised(name, BrokenError(node.returned.text))
        returned = self._filled(node.returned, given, futures=False)
        return self._end_body(name, returned, submitted)

    def _end_body(self, name: str, returned: Any, submitted: Sequence[End]) -> End:
        if isinstance(returned, State):
            state, judged = attrs.evolve(returned, result=None), [End(state=returned)]
        else:
            judged = submitted if returned is None else self._judged(leaves(returned))
            state = aggregate(judged) if judged else Completed()
        if state.is_completed():
            is_chosen = isinstance(returned, State)
            value = returned.result if is_chosen else self._filled(returned, None)
            return End(state=state, name=name, value=value, attempts=1)
        error = first_error(judged, submitted) if state.is_failed() else None
        if error is None:
            error = flow_error(state, state.message or f"flow run {name!r} ended {state.name}")
        return End(state=state, name=name, error=error, attempts=1)

    def _end_task(self, node: TaskNode, name: str, given: Any) -> End:
        upstream = [*leaves((node.argument, node.keyword)), *node.wait_for]
        if blocker := self._blocker(upstream):
            return skipped(name, blocker)
        attempts = min(node.plan.failures, node.retries) + 1
        state, error = made(node.plan, attempts)
        value = None
        if error is None:
            arguments = (self._filled(it, given) for it in (node.argument, node.keyword))
            value = value_of(node.plan, *arguments)
        return End(state=state, name=name, value=value, error=error, attempts=attempts)

    def _blocker(self, upstream: Sequence[Any]) -> End | None:
        """The first that did not complete though it had to."""
        ends = (self.ends[it.number] for it in upstream if isinstance(it, Ref))
        return next((end for end in ends if not end.state.is_completed()), None)

    def _judged(self, returned: Sequence[Any]) -> list[End]:
        """What a flow ends by that returned this; each run counts once."""
        runs = dict.fromkeys(it.number for it in returned if isinstance(it, Ref))
        states = [End(state=it) for it in returned if isinstance(it, State)]
        return [*map(self.ends.__getitem__, runs), *states]

    def _filled(self, tree: Any, given: Any, *, futures: bool = True) -> Any:
        """A tree with what they stand for in the place of its leaves; maybe but for futures."""

        def fill(leaf: Any) -> Any:
            match leaf:
                case Ref(number):
                    return self.ends[number].value if futures else leaf
                case Allowed(number):
                    return self.ends[number].error or self.ends[number].value
                case StateOf(number):
                    return self.ends[number].state
                case Quoted(value):
                    return value
                case Given():
                    return given
            return leaf

        return filled(tree, fill)


def key(task_name: str) -> str:
    """Of the tasks' names, their module and their tags."""
    text = f"{task_name}{graphs.__name__}.{task_name}{[]}"
    return md5(text.encode(), usedforsecurity=False).hexdigest()[:8]


def made(plan: Plan, attempt: int) -> tuple[State, BaseException | None]:
    """What an attempt ends in; anything but a success has an exception."""
    broken, message = BrokenError(plan.number), plan.message
    match plan.failure if attempt <= plan.failures else plan.end:
        case "value":
            return Completed(), None
        case "completed":
            return Completed(message), None
        case "raise":
            return Failed("Task run encountered an exception."), broken
        case "exit":
            error = TaskFailedError(f"the task raised SystemExit({plan.number})")
            return Failed("Task run encountered an exception."), error
        case "failed with":
            return Failed(message), broken
        case "failed":
            return Failed(message), TaskFailedError(message or "the run ended Failed")
        case "timed out":
            return TimedOut(message), TaskTimeoutError(message or "the run ended TimedOut")
        case "crashed":
            return Crashed(message), TaskCrashedError(message or "the run ended Crashed")
    return Cancelled(message), TaskCancelledError(message or "the run ended Cancelled")


def skipped(name: str, blocker: End) -> End:
    """The end of a run that had to wait for one that did not complete."""
    root = blocker.root or blocker
    message = f"Upstream task run {blocker.name!r} did not reach a 'COMPLETED' state."
    state = State(StateType.SKIPPED, "NotReady", message=message)
    error = UpstreamNotCompletedError(f"{message} It began at {root.name!r}.")
    return End(state=state, name=name, error=error, root=root)


def raised(name: str, error: BaseException) -> End:
    """The end of a flow run whose body raised."""
    state = Failed("Flow run encountered an exception.")
    return End(state=state, name=name, error=error, attempts=1)


def flow_error(state: State, text: str) -> BaseException:
    """The exception of a flow run that has none to tell of."""
    if state.is_cancelled():
        return FlowCancelledError(text)
    return FlowTimeoutError(text) if state.is_timed_out() else FlowFailedError(text)


def aggregate(ends: Sequence[End]) -> State:
    """One final state for many."""
    counts = Counter(end.state.type for end in ends)
    if counts[StateType.COMPLETED] == len(ends):
        return Completed("All states completed.")
    if failed := counts[StateType.FAILED] + counts[StateType.CRASHED]:
        return Failed(f"{failed}/{len(ends)} states failed.")
    if any(end.state.is_skipped() and not is_held_up_by_cancelling(end) for end in ends):
        return Failed(f"{counts[StateType.SKIPPED]}/{len(ends)} states skipped.")
    cancelled = counts[StateType.CANCELLED] + counts[StateType.SKIPPED]
    return Cancelled(f"{cancelled}/{len(ends)} states cancelled.")


def is_held_up_by_cancelling(end: End) -> bool:
    """Whether a run was skipped because another was cancelled; a state alone does not tell."""
    return end.root is not None and end.root.state.is_cancelled()


def first_error(judged: Sequence[End], submitted: Sequence[End]) -> BaseException | None:
    """The exception of a flow run that ended by these: the first failure among them, if one tells.

    A skipped run stands for the failure at its root. They come in the order of submission; what
    failed in another flow run counts as submitted with the run that it held up.
    """
    order = {id(end): place for place, end in enumerate(submitted)}
    failures = {}
    for end in judged:
        if end.state.is_completed() or end.state.is_cancelled() or is_held_up_by_cancelling(end):
            continue
        if not end.name:
            if isinstance(end.state.result, BaseException):
                return end.state.result
            continue
        root = end.root or end
        failures[order.get(id(root), order.get(id(end), -1))] = root.error
    return failures[min(failures)] if failures else None


def told(ends: Mapping[int, End]) -> dict[int, tuple[Any, ...]]:
    """What is to be compared, by number of the run; exceptions by type and text."""
    return {
        number: (end.name, str(end.state), end.attempts, _told(end.value), repr(end.error))
        for number, end in sorted(ends.items())
    }


def _told(value: Any) -> Any:
    if isinstance(value, str) and len(value) >= LARGE:
        return GONE  # as it may be, once the flow run has ended
    return filled(value, lambda leaf: repr(leaf) if isinstance(leaf, Exception) else leaf)
