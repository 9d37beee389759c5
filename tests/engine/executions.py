"""How a flow ends that is carried out as planned, on the task runners at hand."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from runnerstone import FlowRun, TaskFuture, allow_failure, flow, get_run_context, quote
from runnerstone.errors import ResultGoneError
from runnerstone.task_runners import TaskRunner
from tests.engine.graphs import (
    Allowed,
    BrokenError,
    FlowNode,
    Given,
    Quoted,
    Raising,
    Ref,
    StateOf,
    TaskNode,
    filled,
    perform,
    perform_async,
)
from tests.engine.models import GONE, End


class Execution:
    """Carries out a plan.

    Attributes:
        ends: Of all runs, by number.
    """

    def __init__(self, node: FlowNode, runners: Sequence[TaskRunner]) -> None:
        self._runners = runners
        self._futures: dict[int, TaskFuture[Any]] = {}
        self._flow_runs: dict[int, FlowRun[Any]] = {}
        self._flow_runs[node.number] = self._flow_of(node).run(self._filled(node.argument, None))
        self.ends = {number: end_of_task(it) for number, it in self._futures.items()}
        self.ends |= {number: end_of_flow(it) for number, it in self._flow_runs.items()}

    def _flow_of(self, node: FlowNode) -> Any:
        runner = self._runners[node.runner % len(self._runners)]
        declare = flow(
            name=f"flow-{node.number}", flow_run_name=f"flow {node.number}", task_runner=runner
        )
        return declare(partial(self._body, node))

    def _body(self, node: FlowNode, given: Any) -> Any:
        for inner in node.nodes:
            if isinstance(inner, TaskNode):
                self._futures[inner.number] = self._submit(inner, given)
            else:
                self._call(inner, given)
        if isinstance(node.returned, Raising):
            raise BrokenError(node.returned.text)
        return self._filled(node.returned, given)

    def _submit(self, node: TaskNode, given: Any) -> Any:
        task = (perform_async if node.is_async else perform).with_options(retries=node.retries)
        argument, keyword = (self._filled(it, given) for it in (node.argument, node.keyword))
        if node.wait_for:
            wait_for = self._filled(node.wait_for, given)
            return task.submit(node.plan, argument, keyword=keyword, wait_for=wait_for)
        return task(node.plan, argument, keyword=keyword)

    def _call(self, node: FlowNode, given: Any) -> None:
        called = self._flow_of(node)
        context = get_run_context()
        try:
            (called if node.is_called else called.run)(self._filled(node.argument, given))
        finally:
            self._flow_runs[node.number] = context.flow_run.subflow_runs[-1]

    def _filled(self, tree: Any, given: Any) -> Any:
        """A tree with what a flow's body has in the place of its leaves."""

        def fill(leaf: Any) -> Any:
            match leaf:
                case Ref(number):
                    return self._futures[number]
                case Allowed(number):
                    return allow_failure(self._futures[number])
                case StateOf(number):
                    return self._flow_runs[number].state
                case Quoted(value):
                    return quote(value)
                case Given():
                    return given
            return leaf

        return filled(tree, fill)


def end_of_task(future: TaskFuture[Any]) -> End:
    """What became of a task run."""
    error = future.exception()
    try:
        value = None if error else future.result()
    except ResultGoneError:
        value = GONE
    return End(
        state=future.state,
        name=future.name,
        value=value,
        error=error,
        attempts=future.task_run.attempts,
    )


def end_of_flow(run: FlowRun[Any]) -> End:
    """What became of a flow run."""
    value = run.result() if run.error is None else None
    return End(state=run.state, name=run.name, value=value, error=run.error, attempts=run.attempts)
