"""The values in what a task runner reports, of calls made by hand."""

import pytest

from runnerstone.task_runners import Pickled, Reference, TaskRunner
from runnerstone.testing._calls import CallMaker, CallSuite, Ends, pickled_of, submit, value_of
from runnerstone.testing._tasks import give

SIZES = [0, 1, 1000, 64 * 1024, 1_000_000]


class OutcomeTests(CallSuite):
    """Values come back as they are, pickled, or as references to be fetched."""

    @pytest.mark.parametrize("size", SIZES)
    def test_value_of_any_size_can_be_had(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends, size: int
    ) -> None:
        call = make.call(give, b"x" * size)

        self.in_time(submit, started_runner, [call], ends)

        assert self.in_time(value_of, started_runner, ends.of(call)) == b"x" * size

    def test_value_is_passed_as_it_is(
        self, sharing_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        value = object()
        call = make.call(give, value)

        self.in_time(submit, started_runner, [call], ends)

        assert ends.of(call).value is value

    def test_value_up_to_the_inline_limit_comes_with_the_outcome(
        self, travelling_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        overhead = 100  # more than pickling adds to bytes
        limit = started_runner.capabilities.inline_limit
        call = make.call(give, bytes(max(limit - overhead, 0)))

        self.in_time(submit, started_runner, [call], ends)

        assert type(ends.of(call).value) is Pickled or limit < overhead

    def test_values_are_fetched_in_the_order_asked_for(
        self, travelling_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        calls = make.calls(give, [bytes([number]) * 1_000_000 for number in range(3)])
        self.in_time(submit, started_runner, calls, ends)
        references = [ends.of(call).value for call in calls]
        if not all(type(reference) is Reference for reference in references):
            pytest.skip("the task runner makes no Reference of a value of 1 MB")

        fetched = self.in_time(started_runner.fetch, references[::-1])

        assert [type(value) for value in fetched] == [Pickled] * 3
        assert [value.load()[:1] for value in fetched] == [b"\2", b"\1", b"\0"]

    def test_shared_value_can_be_fetched(
        self, travelling_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        call = make.call(give, b"x" * 1000)
        self.in_time(submit, started_runner, [call], ends)
        value = pickled_of(started_runner, ends.of(call))

        shared = self.in_time(started_runner.share, value)

        if shared is None:
            pytest.skip("share() returns None")
        assert type(shared) is Reference
        assert self.in_time(started_runner.fetch, [shared])[0].load() == b"x" * 1000
