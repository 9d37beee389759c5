"""Small calls that travel together."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runnerstone import TaskFuture, flow
from runnerstone.packs import Progress
from runnerstone.task_runners import Failure, Outcome, Pack, Pickled, TaskCall, TaskRunner
from runnerstone.testing._calls import CallMaker, CallSuite, Ends, submit, value_of
from runnerstone.testing._tasks import call, give
from runnerstone.testing._troubles import die_first

CALLS = 300


class PackTests(CallSuite):
    """A pack is executed as a call is; each of its calls comes to an end of its own."""

    @pytest.fixture
    def packing_runner(self, task_runner: TaskRunner) -> TaskRunner:
        """The task runner, if it is given packs."""
        if not task_runner.capabilities.gains_from_packing:
            pytest.skip("capabilities.gains_from_packing is false")
        return task_runner

    def test_calls_of_a_pack_are_executed_in_order(
        self, packing_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        calls = make.calls(give, range(20))

        outcomes = self.in_time(_execute, started_runner, calls, ends)

        assert [_loaded(outcome) for outcome in outcomes] == [*range(20)]
        starts = [outcome.started or 0 for outcome in outcomes]
        assert starts == sorted(starts)
        assert len({outcome.where for outcome in outcomes}) == 1

    def test_last_value_of_a_pack_may_be_large(
        self, packing_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        calls = make.calls(give, [1, 2, bytes(1_000_000)])

        first, second, last = self.in_time(_execute, started_runner, calls, ends)

        assert (_loaded(first), _loaded(second)) == (1, 2)
        assert self.in_time(value_of, started_runner, last) == bytes(1_000_000)

    def test_failure_in_a_pack_is_one_calls_alone(
        self, packing_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        calls = make.calls(call, [partial(int, "1"), partial(int, "bad"), partial(int, "3")])

        first, second, last = self.in_time(_execute, started_runner, calls, ends)

        assert (_loaded(first), _loaded(last)) == (1, 3)
        assert isinstance(second.problem, Failure)
        assert second.problem.type_name == "ValueError"

    def test_each_of_many_small_calls_has_its_own_end(self, task_runner: TaskRunner) -> None:
        texts = [str(number) if number % 50 else "bad" for number in range(CALLS)]

        @flow(task_runner=task_runner)
        def many() -> list[Any]:
            futures = call.map([partial(int, text) for text in texts])
            errors = [future.exception() for future in futures]
            return [
                future.result() if error is None else type(error).__name__
                for future, error in zip(futures, errors, strict=True)
            ]

        found = self.in_time(many)

        assert found == [int(text) if text != "bad" else "ValueError" for text in texts]

    def test_calls_whose_worker_dies_under_them_are_executed_again(
        self, separate_runner: TaskRunner, tmp_path: Path
    ) -> None:
        futures: list[TaskFuture[Any]] = []
        file = tmp_path / "attempts"

        @flow(task_runner=separate_runner)
        def dying() -> str:
            functions: list[Any] = [partial(int, number) for number in range(CALLS)]
            functions[CALLS // 2] = partial(die_first, file)
            futures.extend(call.map(functions))
            return "done"

        assert self.in_time(dying) == "done"
        ends = [future.state for future in futures if not future.state.is_completed()]
        assert not ends, f"{len(ends)} runs ended otherwise, such as {ends[0]}"
        assert {future.task_run.attempts for future in futures} == {1, 2}
        assert futures[CALLS // 2].result() == "alive"


def _execute(runner: TaskRunner, calls: list[TaskCall], ends: Ends) -> list[Outcome]:
    """How calls end that are submitted as a pack; those that come back, as another."""
    outcomes: list[Outcome] = []
    while len(outcomes) < len(calls):
        left = calls[len(outcomes) :]
        one = Pack(left) if len(left) > 1 else left[0]
        submit(runner, [one], ends)
        last = ends.of(one)
        assert last.progress is not None or len(left) == 1, (
            "the outcome of a pack is that of `pack(*pack.upstream)` or of `run_parcel`, as it is"
        )
        told = [it for it in (*ends.progress_of(one), last.progress) if it is not None]
        outcomes += [outcome for it in told for outcome in Progress.read(it).outcomes]
        outcomes.append(last)
    return outcomes


def _loaded(outcome: Outcome) -> Any:
    assert isinstance(outcome.value, Pickled), f"the call came to {outcome}"
    return outcome.value.load()
