"""Plans of flows: graphs of task runs and subflows, and the tasks that do as their plan says.

A *tree* is a value with leaves anywhere in it. Some leaves stand for what is known only when the
plan is carried out: `Ref`, `Allowed`, `Quoted`, `Given`, `StateOf`.
"""

from collections.abc import Callable
from typing import Any, Literal
from zlib import crc32

import attrs

from runnerstone import (
    Cancelled,
    Completed,
    Crashed,
    Failed,
    State,
    TimedOut,
    get_run_context,
    task,
)

LARGE = 70_000  # letters: more than is sent with an outcome, so the value stays where it was made

FailureKind = Literal["raise", "exit", "failed", "failed with", "timed out"]
EndKind = Literal["value", "completed", "cancelled", "crashed"]


class BrokenError(Exception):
    """What fails here fails with this."""


@attrs.frozen
class Ref:
    """The future of a task run."""

    number: int


@attrs.frozen
class Allowed:
    """The future of a task run that may have failed."""

    number: int


@attrs.frozen
class Quoted:
    """A value that is not searched."""

    value: Any


@attrs.frozen
class Given:
    """What the subflow got as its argument."""


@attrs.frozen
class StateOf:
    """The final state of a subflow run."""

    number: int


@attrs.frozen
class Box:
    """A container."""

    content: Any


def filled(tree: Any, fill: Callable[[Any], Any]) -> Any:
    """A tree with what `fill` gives for each leaf, which it gets in the order of the search."""
    if type(tree) in {list, tuple}:
        return type(tree)(filled(item, fill) for item in tree)
    if type(tree) is dict:
        return {filled(key, fill): filled(value, fill) for key, value in tree.items()}
    if type(tree) is Box:
        return Box(filled(tree.content, fill))
    return fill(tree)


def leaves(tree: Any) -> list[Any]:
    """The leaves of a tree, in the order of the search."""
    found: list[Any] = []
    filled(tree, found.append)
    return found


@attrs.frozen(kw_only=True)
class Plan:
    """What a task run does.

    Attributes:
        number: Unique in the root graph.
        failures: How many attempts fail, if so many are made.
        failure: How they do.
        end: How the next attempt ends.
        message: That of the states that it returns.
        is_large: Whether its value is large.
    """

    number: int
    failures: int = 0
    failure: FailureKind = "raise"
    end: EndKind = "value"
    message: str | None = None
    is_large: bool = False


@attrs.frozen(kw_only=True)
class TaskNode:
    """A task run.

    Attributes:
        plan: What it does.
        is_async: Whether the task is a coroutine function.
        retries: The task's.
        argument: A tree.
        keyword: Another.
        wait_for: Of `Ref` and `Allowed`.
    """

    plan: Plan
    is_async: bool = False
    retries: int = 0
    argument: Any = None
    keyword: Any = None
    wait_for: tuple[Ref | Allowed, ...] = ()

    @property
    def number(self) -> int:
        """Unique in the root graph."""
        return self.plan.number


@attrs.frozen
class Raising:
    """A flow's body raises, instead of returning something."""

    text: str


@attrs.frozen(kw_only=True)
class FlowNode:
    """A flow run; the root, or a subflow run.

    Attributes:
        number: Unique in the root graph.
        argument: A tree.
        nodes: What its body submits and calls, in order.
        returned: A tree; or `Raising`.
        runner: Which of the task runners at hand is its.
        is_called: Whether the flow is called, so that the body around gets what it raises. If not,
            only its record is taken.
    """

    number: int
    argument: Any = None
    nodes: tuple["TaskNode | FlowNode", ...] = ()
    returned: Any = None
    runner: int = 0
    is_called: bool = False


def value_of(plan: Plan, argument: Any, keyword: Any) -> str:
    """The value of a task run: it tells what the run got."""
    value = f"{plan.number} got {crc32(repr((argument, keyword)).encode()):x}"
    return value * (LARGE // len(value) + 1) if plan.is_large else value


@task
def perform(plan: Plan, argument: Any, *, keyword: Any = None) -> str | State:
    """Do as planned."""
    return _end(plan, argument, keyword)


@task
async def perform_async(plan: Plan, argument: Any, *, keyword: Any = None) -> str | State:
    """Do as planned."""
    return _end(plan, argument, keyword)


def _end(plan: Plan, argument: Any, keyword: Any) -> str | State:
    is_failure = get_run_context().attempt <= plan.failures
    match plan.failure if is_failure else plan.end:
        case "raise":
            raise BrokenError(plan.number)
        case "exit":
            raise SystemExit(plan.number)
        case "failed":
            return Failed(plan.message)
        case "failed with":
            return Failed(plan.message, result=BrokenError(plan.number))
        case "timed out":
            return TimedOut(plan.message)
        case "cancelled":
            return Cancelled(plan.message)
        case "crashed":
            return Crashed(plan.message)
        case "completed":
            return Completed(plan.message, result=value_of(plan, argument, keyword))
    return value_of(plan, argument, keyword)
