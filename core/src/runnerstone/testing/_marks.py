"""Marked arguments, and maps."""

from typing import Any

from runnerstone import TaskFuture, TaskFutureList, allow_failure, flow, quote, unmapped
from runnerstone.errors import UpstreamNotCompletedError
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._suites import Suite, names_of
from runnerstone.testing._tasks import Record, add, call, describe, fail, give, size_of
from runnerstone.testing._troubles import raise_unpicklable_error


class MarkTests(Suite):
    """Failures that are allowed, values that are quoted, and runs for each element."""

    def test_failure_that_is_allowed_is_passed_on(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def tolerant() -> list[Any]:
            failed: TaskFuture[Any] = fail.submit("no luck")
            skipped = give.submit(failed)
            return [
                describe(allow_failure(failed)),
                describe(allow_failure(skipped)),
                describe(allow_failure(give.submit("luck"))),
                size_of([Record(allow_failure(failed)), 2]),
                give.submit("after", wait_for=[allow_failure(failed)]),
            ]

        first, second, third, *rest = self.in_time(tolerant)

        assert first == ["ValueError", "no luck"]
        assert second[0] == UpstreamNotCompletedError.__name__
        assert third == ["str", "luck"]
        assert rest == [2, "after"]

    def test_failure_that_is_allowed_and_cannot_travel_is_told(
        self, task_runner: TaskRunner
    ) -> None:
        @flow(task_runner=task_runner)
        def tolerant() -> list[str]:
            return describe(allow_failure(call.submit(raise_unpicklable_error)))

        assert "with baggage" in self.in_time(tolerant)[1]

    def test_quoted_value_is_passed_as_it_is(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def quoting() -> list[Any]:
            rows = list(range(1000))
            return [size_of(quote(rows)), size_of([quote(rows), 1]), add(quote([1]), give([2]))]

        assert self.in_time(quoting) == [1000, 2, [1, 2]]

    def test_map_submits_a_run_for_each_element(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def mapping() -> list[Any]:
            firsts = give.map(range(5))
            sums = add.map(firsts, second=[10, 20, 30, 40, 50])
            pairs = add.map(sums, unmapped(1))
            return [pairs, size_of(pairs), add.map(give.submit([1, 2]), 1)]

        record = self.record_of(mapping)

        assert record.result() == [[11, 22, 33, 44, 55], 5, [2, 3]]
        assert [run.map_index for run in record.task_runs[:5]] == [0, 1, 2, 3, 4]

    def test_map_of_a_few_at_a_time_ends(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def streaming() -> list[int]:
            numbers = add.map((number for number in range(50)), 1, buffersize=4)
            return [future.result() for future in numbers]

        assert self.in_time(streaming) == [*range(1, 51)]

    def test_result_of_a_list_can_do_without_what_failed(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def partly() -> list[Any]:
            futures: TaskFutureList[Any] = TaskFutureList(
                [give.submit(1), fail.submit("no luck"), give.submit(3)]
            )
            return [futures.result(on_error="skip"), len(futures.result(on_error="collect"))]

        record = self.record_of(partly)

        assert record.result() == [[1, 3], 3]
        assert names_of(record) == ["Completed", "Failed", "Completed"]
