"""The final state of a flow run, from what its body returned; the rules are in the docs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import attrs

from runnerstone._arguments import Template
from runnerstone._engine.inputs import FOR_CALLS, Input, value_of
from runnerstone._engine.task_runs import Engine
from runnerstone._problems import Problem, Skip
from runnerstone._tracebacks import with_note
from runnerstone.futures import TaskFuture
from runnerstone.states import Completed, Failed, State, StateType, aggregate

Returned = Input | State
# What is looked for in a value that a body returned, and in the result of a state.
RETURNED: Final = FOR_CALLS | {State}
FLOW_FAILED: Final = Failed("Flow run encountered an exception.")


@attrs.frozen
class Conclusion:
    """What a flow run comes to.

    Attributes:
        state: Its final state.
        value: What it returns.
        error: What it raises instead.
        skip: Why it was skipped, if it was.
    """

    state: State
    value: Any = None
    error: BaseException | None = None
    skip: Skip | None = attrs.field(default=None, kw_only=True)


def conclude(
    engine: Engine, value: Any, found: Sequence[Returned], template: Template | None
) -> Conclusion:
    """Judge what a flow's body returned, all runs being final; fetches the values in it.

    Args:
        engine: The flow run's.
        value: What its body returned.
        found: What is `RETURNED` in it; in its result if it is a state.
        template: What remains without that; None if the value, or the result, stays what it is.
    """
    if type(value) is State:
        return _chosen(engine, value, found, template)
    if value is None and engine.run.submitted:
        state = aggregate(
            engine.run.counts, skipped_by_cancelling=engine.book.skipped_by_cancelling
        )
        if state.is_failed() and engine.book.first_failure is not None:
            _, problem = engine.book.first_failure
            return Conclusion(state, error=_error_of(engine, problem))
        return Conclusion(state)
    return _judged(engine, value, found, template)


def _judged(
    engine: Engine, value: Any, found: Sequence[Returned], template: Template | None
) -> Conclusion:
    """The conclusion from futures and states in a value; marked ones are not judged."""
    judged = [item for item in found if isinstance(item, (TaskFuture, State))]
    state = Completed()
    if judged:
        state = aggregate(
            Counter(it.state.type if isinstance(it, TaskFuture) else it.type for it in judged),
            skipped_by_cancelling=sum(map(_is_skipped_by_cancelling, judged)),
        )
    if not state.is_completed():
        return Conclusion(state, error=_first_error(engine, judged) if state.is_failed() else None)
    if template is None:
        return Conclusion(state, value)
    engine.fetch_all(item for item in found if isinstance(item, TaskFuture))
    values = [item if isinstance(item, State) else value_of(item) for item in found]
    return Conclusion(state, template.fill(values))


def _chosen(
    engine: Engine, state: State, found: Sequence[Returned], template: Template | None
) -> Conclusion:
    """The conclusion from a state that the body returned by itself."""
    if not state.is_final():
        return Conclusion(Failed(f"Flow returned a state that is not final: {state}"))
    bare = attrs.evolve(state, result=None)
    if not state.is_completed():
        error = state.result if isinstance(state.result, BaseException) else None
        return Conclusion(bare, error=error)
    conclusion = _judged(engine, state.result, found, template)
    return attrs.evolve(conclusion, state=bare) if conclusion.state.is_completed() else conclusion


def _is_skipped_by_cancelling(item: TaskFuture[Any] | State) -> bool:
    if isinstance(item, State):
        return False
    problem = item._problem
    return isinstance(problem, Skip) and problem.by_cancelling


def _first_error(engine: Engine, found: Sequence[TaskFuture[Any] | State]) -> BaseException | None:
    """The first failure among what a body returned; None if no exception tells of it."""
    failures: list[tuple[int, Problem]] = []
    for item in found:
        if isinstance(item, State):
            if isinstance(item.result, BaseException):
                return item.result
            continue
        problem = item._problem
        if isinstance(problem, Skip):
            if not problem.by_cancelling:
                is_own = problem.flow_run_id == engine.run.id
                place = problem.root if is_own else item.task_run
                failures.append((place.index, problem.cause))
        elif problem is not None and item.state.type is not StateType.CANCELLED:
            failures.append((item.task_run.index, problem))
    if not failures:
        return None
    _, problem = min(failures, key=lambda failure: failure[0])
    return _error_of(engine, problem)


def _error_of(engine: Engine, problem: Problem | BaseException) -> BaseException:
    """The exception to raise for a failed run, with a note that counts the others."""
    error = problem if isinstance(problem, BaseException) else problem.error()
    counts = engine.run.counts
    others = counts.get(StateType.FAILED, 0) + counts.get(StateType.CRASHED, 0) - 1
    if others <= 0:
        return error
    runs = "1 other run" if others == 1 else f"{others} other runs"
    return with_note(error, f"{runs} failed in flow run {engine.run.name!r}")
