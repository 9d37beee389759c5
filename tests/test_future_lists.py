import asyncio
import pickle
import weakref
from threading import Event
from typing import ClassVar

import attrs
import pytest

from runnerstone import flow, task
from runnerstone.errors import ResultGoneError, TaskCancelledError, ValueLostError
from runnerstone.future_lists import TaskFutureList
from runnerstone.task_runners import (
    Capabilities,
    ConcurrentTaskRunner,
    Reference,
    SequentialTaskRunner,
    TaskRunner,
)

THREADS = ConcurrentTaskRunner(max_workers=4)


class CopyingTaskRunner(TaskRunner):
    """Runs copies of calls, as other processes would."""

    capabilities = Capabilities(parallel=False)

    def submit(self, call, report):
        report.done(pickle.loads(pickle.dumps(call))(*call.upstream))


class KeepingTaskRunner(TaskRunner):
    """Keeps the values that calls return, and tells how often it was asked for some."""

    lost: tuple[int, ...] = ()

    capabilities = Capabilities(parallel=False)
    fetched: ClassVar[list[int]] = []

    def submit(self, call, report):
        outcome = pickle.loads(pickle.dumps(call))(*call.upstream)
        if outcome.problem is None:
            handle = call.number, outcome.value
            outcome = attrs.evolve(outcome, value=Reference(handle, lambda _: None))
        report.done(outcome)

    def fetch(self, references):
        self.fetched.append(len(references))
        if any(reference.handle[0] in self.lost for reference in references):
            raise ValueLostError("worker 3 died")
        return [reference.handle[1] for reference in references]


@pytest.fixture(
    params=[SequentialTaskRunner(), THREADS, CopyingTaskRunner()],
    ids=["sequential", "threads", "copying"],
)
def runner(request):
    return request.param


@pytest.fixture
def gate():
    return Event()


@pytest.fixture
def in_flow(gate):
    """Runs a function at once as the body of a flow, and then opens the gate."""

    def in_flow_on(runner):
        def run(body):
            def handled():
                try:
                    body()
                finally:
                    gate.set()
                return "handled"

            flow(task_runner=runner)(handled)()

        return run

    return in_flow_on


@task
def parse(x):
    return x


@task
def fail(text="no"):
    raise ValueError(text)


@task
def wait_at(gate, value=None):
    gate.wait()
    return value


@task
def describe(value):
    return type(value).__name__, value


def parsed(*values):
    return TaskFutureList(parse.submit(value) for value in values)


# Results


def test_results_are_the_values_in_the_order_of_the_list(in_flow, runner):
    @in_flow(runner)
    def body():
        assert parsed(3, 1, 2).result() == [3, 1, 2]


@pytest.mark.parametrize("on_error", ["raise", "collect", "skip"])
def test_results_without_errors_are_the_same_whatever_is_done_about_errors(in_flow, on_error):
    @in_flow(THREADS)
    def body():
        assert parsed(1, None, 0).result(on_error=on_error) == [1, None, 0]
        assert TaskFutureList().result(on_error=on_error) == []


def test_a_future_in_two_places_has_its_value_in_both(in_flow):
    @in_flow(THREADS)
    def body():
        assert TaskFutureList(list(parsed(1, 2)) * 2).result() == [1, 2, 1, 2]


def test_result_raises_the_tasks_own_exception(in_flow, runner):
    @in_flow(runner)
    def body():
        with pytest.raises(ValueError, match=r"^why"):
            TaskFutureList([parse.submit(1), fail.submit("why")]).result()


def test_result_raises_with_the_first_failure_and_not_after_the_slowest(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = TaskFutureList([wait_at.submit(gate), fail.submit("why")])

        with pytest.raises(ValueError, match="why"):
            futures.result()

        assert not futures[0].done()


def test_of_several_failures_the_first_in_the_list_is_raised(in_flow):
    @in_flow(THREADS)
    def body():
        later, first = fail.submit("later"), fail.submit("first")
        futures = TaskFutureList([parse.submit(1), first, later])
        futures.wait()

        with pytest.raises(ValueError, match="first"):
            futures.result()


def test_an_exception_that_result_raised_keeps_no_future_alive(in_flow):
    @in_flow(ConcurrentTaskRunner(max_workers=1))
    def body():
        futures = TaskFutureList([parse.submit(1), fail.submit()])
        alive = [weakref.ref(future) for future in futures]
        try:
            futures.result()
        except ValueError as error:
            kept = error

        del futures
        parse.submit(1).result()  # for which the one thread has to let go of the call before

        assert kept.args == ("no",)
        assert [it() for it in alive] == [None, None]


def test_errors_are_collected_in_their_places(in_flow, gate):
    @in_flow(THREADS)
    def body():
        cancelled = wait_at.submit(gate)
        cancelled.cancel()
        futures = TaskFutureList([fail.submit("why"), parse.submit(1), cancelled])

        first, second, third = futures.result(on_error="collect")

        assert (type(first), first.args) == (ValueError, ("why",))
        assert second == 1
        assert type(third) is TaskCancelledError


def test_errors_are_skipped(in_flow, runner):
    @in_flow(runner)
    def body():
        futures = TaskFutureList([fail.submit(), parse.submit(1), fail.submit(), parse.submit(2)])

        assert futures.result(on_error="skip") == [1, 2]


@pytest.mark.parametrize("on_error", ["collect", "skip"])
def test_collecting_waits_for_all(in_flow, gate, on_error):
    @in_flow(THREADS)
    def body():
        futures = TaskFutureList([fail.submit(), wait_at.submit(gate)])

        with pytest.raises(TimeoutError, match=rf"^1 of 2 task .* 0\.01 s: '{futures[1].name}'$"):
            futures.result(timeout=0.01, on_error=on_error)


def test_result_that_takes_too_long_is_a_timeout(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = TaskFutureList([parse.submit(1), wait_at.submit(gate)])

        with pytest.raises(TimeoutError, match=r"^1 of 2 task runs are not final after 0\.01 s"):
            futures.result(timeout=0.01)


def test_an_unknown_way_with_errors_is_refused():
    with pytest.raises(ValueError, match=r"^on_error is 'raise', 'collect' or 'skip', not 'drop'$"):
        TaskFutureList().result(on_error="drop")


@pytest.mark.parametrize("on_error", ["raise", "collect", "skip"])
def test_values_that_stayed_behind_are_fetched_at_once(in_flow, on_error):
    KeepingTaskRunner.fetched.clear()

    @in_flow(KeepingTaskRunner())
    def body():
        futures = parsed(1, 2, 3)

        assert TaskFutureList([*futures, *futures]).result(on_error=on_error) == [1, 2, 3] * 2

    assert KeepingTaskRunner.fetched == [3]


def test_values_that_are_lost_are_errors_of_their_own(in_flow):
    @in_flow(KeepingTaskRunner(lost=(1,)))
    def body():
        futures = parsed(1, 2, 3)

        first, second, third = futures.result(on_error="collect")
        assert (first, type(second), third) == (1, ValueLostError, 3)
        assert futures.result(on_error="skip") == [1, 3]
        with pytest.raises(ValueLostError, match="worker 3 died"):
            futures.result()


def test_values_that_went_away_with_their_task_runner_are_said_to_have():
    kept = []

    @flow(task_runner=KeepingTaskRunner())
    def body():
        kept.append(parsed(1, 2))

    body()

    with pytest.raises(ResultGoneError, match=r"^the value of task run 'parse-.*-0' went away"):
        kept[0].result()
    assert [type(it) for it in kept[0].result(on_error="collect")] == [ResultGoneError] * 2


# Waiting


def test_wait_tells_whether_all_are_final(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = TaskFutureList([parse.submit(1), wait_at.submit(gate)])

        assert not futures.wait(timeout=0.01)
        assert not futures.done()
        gate.set()
        assert futures.wait()
        assert futures.done()


def test_a_list_is_done_however_its_runs_ended(in_flow):
    @in_flow(SequentialTaskRunner())
    def body():
        assert TaskFutureList([fail.submit(), parse.submit(1)]).done()


def test_futures_of_a_list_can_be_gathered():
    @flow(task_runner=THREADS)
    async def body():
        return [await asyncio.gather(*parsed(1, 2, 3))]

    assert asyncio.run(body()) == [[1, 2, 3]]


# A list


def test_a_slice_is_such_a_list_and_an_element_a_future(in_flow):
    @in_flow(SequentialTaskRunner())
    def body():
        futures = parsed(1, 2, 3)

        assert type(futures[1:]) is TaskFutureList
        assert futures[1:].result() == [2, 3]
        assert futures[-1].result() == 3


def test_two_lists_together_are_such_a_list(in_flow):
    @in_flow(SequentialTaskRunner())
    def body():
        both = parsed(1) + parsed(2)

        assert type(both) is TaskFutureList
        assert both.result() == [1, 2]
        assert type(both + [parse.submit(3)]) is TaskFutureList  # noqa: RUF005


def test_a_list_with_something_else_is_a_plain_list(in_flow):
    @in_flow(SequentialTaskRunner())
    def body():
        assert type(parsed(1) + [2]) is list  # noqa: RUF005


# As an argument


@pytest.mark.parametrize("values", [[1, 2], [1], []], ids=len)
def test_a_task_gets_a_plain_list_of_the_values(in_flow, runner, values):
    @in_flow(runner)
    def body():
        futures = parsed(*values)

        assert describe.submit(futures).result() == ("list", values)
        assert describe.submit(value=futures).result() == ("list", values)


@pytest.mark.parametrize("values", [[1, 2], []], ids=len)
def test_a_task_gets_plain_lists_at_any_depth(in_flow, runner, values):
    @task
    def kinds(value, other):
        return type(value["a"][0]).__name__, value, other

    @in_flow(runner)
    def body():
        argument = {"a": (parsed(*values), [5])}

        kind, value, other = kinds.submit(argument, parse.submit(7)).result()

        assert kind == "list"
        assert (value, other) == ({"a": (values, [5])}, 7)
        assert kinds.submit(argument, 0).result() == (kind, value, 0)


def test_a_list_in_a_cycle_arrives_as_a_plain_list(in_flow):
    @in_flow(SequentialTaskRunner())
    def body():
        futures = parsed(1)
        box = [futures]
        futures.append(box)

        kind, value = describe.submit(futures).result()

        assert kind == "list"
        assert value[0] == 1
        assert value[1][0] is value


def test_the_list_itself_is_not_changed(in_flow):
    @in_flow(SequentialTaskRunner())
    def body():
        futures = parsed(1, 2)
        before = list(futures)

        describe.submit(futures)

        assert type(futures) is TaskFutureList
        assert list(futures) == before


@pytest.mark.parametrize("values", [[1, 2], []], ids=len)
def test_a_flow_returns_a_plain_list(runner, values):
    @flow(task_runner=runner)
    def body():
        return parsed(*values)

    returned = body()

    assert type(returned) is list
    assert returned == values


@pytest.mark.parametrize("values", [[1, 2], []], ids=len)
def test_a_subflow_gets_a_plain_list(runner, values):
    inner = flow(task_runner="sequential")(describe.fn)

    @flow(task_runner=runner)
    def outer():
        return inner(parsed(*values))

    assert outer() == ("list", values)
