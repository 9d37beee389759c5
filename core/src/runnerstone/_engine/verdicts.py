"""What the outcome of an attempt comes to."""

from collections.abc import Sequence
from typing import Final

import attrs

from runnerstone._engine.inputs import Input, future_of
from runnerstone._problems import NoValue, Problem
from runnerstone.outcomes import Crash, Failure, Outcome
from runnerstone.runs import TaskRun
from runnerstone.states import COMPLETED, Cancelled, Crashed, Failed, State, StateType

TASK_FAILED: Final = Failed("Task run encountered an exception.")
_ENDS: Final = {
    StateType.FAILED: "failed",
    StateType.CRASHED: "crashed",
    StateType.CANCELLED: "was cancelled",
}


def no_outcome(reported: object) -> Outcome:
    """What it comes to that a task runner has reported something else."""
    text = f"the task runner reported {reported!r}, which is no Outcome"
    return Outcome(problem=Crash(text, is_permanent=True))


def judge(
    outcome: Outcome, upstream: Sequence[Input], *, interrupted: bool
) -> tuple[State, Problem | None]:
    """The state that an attempt ends in, and why it has no value; None if it has one.

    Args:
        outcome: Its call's.
        upstream: What the call took.
        interrupted: Whether Ctrl-C has come during the flow run.
    """
    problem: Problem | None = outcome.problem
    state = COMPLETED if outcome.state is None else outcome.state
    if outcome.state is not None and not state.is_final():
        state = Failed(f"Task returned a state that is not final: {state}")
    elif outcome.state is None and isinstance(problem, Failure):
        state = TASK_FAILED
    elif isinstance(problem, Crash):
        problem = _naming_lost(problem, upstream)
        state = Crashed(problem.message)
    if interrupted and isinstance(problem, Failure) and problem.interrupted:
        state = Cancelled("Interrupted.")
        problem = None
    if problem is None and not state.is_completed():
        problem = NoValue(state)
    return state, problem


def note_of(run: TaskRun, state: State, flow_run_name: str, runner_name: str) -> str:
    """What the exception of a run that did not complete is given as a note.

    Args:
        run: The run.
        state: Its final state.
        flow_run_name: The name of its flow run.
        runner_name: That of its task runner's class.
    """
    place = "" if run.map_index is None else f" (map index {run.map_index})"
    how = "timed out" if state.is_timed_out() else _ENDS.get(state.type, state.name)
    return f"Task run {run.name!r}{place} of flow run {flow_run_name!r} {how} on {runner_name}"


def _naming_lost(crash: Crash, upstream: Sequence[Input]) -> Crash:
    """The crash, its message naming the runs whose values turned out to be gone."""
    lost = [future_of(upstream[number]) for number in crash.lost if number < len(upstream)]
    names = [repr(future.name) for future in lost if future is not None]
    if not names:
        return crash
    values = "the value of task run" if len(names) == 1 else "the values of task runs"
    return attrs.evolve(crash, message=f"{crash.message}; lost: {values} {', '.join(names)}")
