import asyncio
import inspect
import threading
from itertools import count, repeat
from threading import Event

import attrs
import pytest

from runnerstone import TaskFuture, flow, task
from runnerstone._maps import MappedArguments
from runnerstone.annotations import unmapped
from runnerstone.errors import NotInFlowError
from runnerstone.future_lists import TaskFutureIterator, TaskFutureList
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

THREADS = ConcurrentTaskRunner(max_workers=4)


def in_flow(runner):
    """Run a function at once as the body of a flow, whatever becomes of its task runs."""

    def run(body):
        def handled():
            body()
            return "handled"

        flow(task_runner=runner)(handled)()

    return run


@pytest.fixture(params=[SequentialTaskRunner(), THREADS], ids=["sequential", "threads"])
def runner(request):
    return request.param


@task
def parse(x):
    return x


@task
def fail(x):
    raise ValueError(x)


@task
def join(first, second, *others, third="-"):
    return (first, second, *others, third)


@task
def wait_at(gate):
    return gate.wait()


class Source:
    """Counts from 0 up to a limit and tells how far it was read."""

    def __init__(self, size):
        self.read = 0
        self._size = size

    def __iter__(self):
        return self

    def __next__(self):
        if self.read == self._size:
            raise StopIteration
        self.read += 1
        return self.read - 1


class Unsized:
    """Iterable anew each time, without a length."""

    def __iter__(self):
        return iter("ab")


class Sequence:
    """Iterable by its elements alone."""

    def __getitem__(self, index):
        return "ab"[index]


def submitted_by(*args, **kwargs):
    """What a map of `join` submits, and all that it does."""
    calls = []

    def submit(args, kwargs, map_index):
        calls.append((args, kwargs))
        assert map_index == len(calls) - 1

    MappedArguments("join", inspect.signature(join.fn), args, kwargs).submit_all(submit)
    return calls


# What is mapped over


def test_each_element_is_a_run_of_its_own(runner):
    @in_flow(runner)
    def body():
        futures = parse.map([3, 1, 2])

        assert type(futures) is TaskFutureList
        assert [type(future) for future in futures] == [TaskFuture] * 3
        assert futures.result() == [3, 1, 2]


def test_several_arguments_go_together_element_by_element():
    calls = submitted_by([1, 2], (3, 4), range(5, 7), third="xy")

    assert calls == [((1, 3, 5), {"third": "xy"}), ((2, 4, 6), {"third": "xy"})]


def test_keyword_arguments_are_mapped_over_like_the_others():
    calls = submitted_by(0, second=[1, 2], third=[3, 4])

    assert calls == [((0,), {"second": 1, "third": 3}), ((0,), {"second": 2, "third": 4})]


@pytest.mark.parametrize("value", ["ab", b"ab", bytearray(b"ab"), 5, None, object(), len])
def test_what_is_a_single_value_goes_to_each_run(value):
    assert submitted_by([1, 2], value) == [((1, value), {}), ((2, value), {})]


@pytest.mark.parametrize(
    "iterable",
    [
        *(["a", "b"], ("a", "b"), {"a": 1, "b": 2}.keys(), {"a": "b"}.items(), {"a"}),
        *(frozenset("a"), Unsized(), Sequence()),
    ],
    ids=lambda it: type(it).__name__,
)
def test_whatever_is_iterable_is_mapped_over(iterable):
    elements = list(iterable)

    assert submitted_by(iterable, 0) == [((element, 0), {}) for element in elements]


@pytest.mark.parametrize("iterator", [Source(3), (x for x in range(3)), map(int, "012")])
def test_iterators_are_mapped_over(iterator):
    assert submitted_by(iterator, ["a", "b", "c"]) == [
        ((0, "a"), {}),
        ((1, "b"), {}),
        ((2, "c"), {}),
    ]


def test_an_array_is_mapped_over_unless_it_has_no_dimension():
    numpy = pytest.importorskip("numpy")
    scalar = numpy.array(7)

    calls = submitted_by(numpy.arange(2), scalar)

    assert [args for args, _ in calls] == [(0, scalar), (1, scalar)]


def test_defaults_are_not_mapped_over():
    @task
    def with_default(x, kinds=("a", "b", "c")):
        return x, kinds

    @in_flow(SequentialTaskRunner())
    def body():
        assert with_default.map([1]).result() == [(1, ("a", "b", "c"))]


@pytest.mark.parametrize("value", [[1, 2, 3], {"a": 1}, (), 5])
def test_what_is_unmapped_goes_to_each_run_as_it_is(value):
    calls = submitted_by([1, 2], unmapped(value))

    assert [args for args, _ in calls] == [(1, value), (2, value)]
    assert all(args[1] is value for args, _ in calls)


def test_what_is_unmapped_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        unmapped(1).value = 2


@pytest.mark.parametrize("empty", [[], (), iter(()), {}.keys()], ids=lambda it: type(it).__name__)
def test_a_map_over_nothing_is_an_empty_list(empty):
    @in_flow(SequentialTaskRunner())
    def body():
        futures = parse.map(empty)

        assert type(futures) is TaskFutureList
        assert futures == []


# Futures


def test_a_future_is_mapped_over_its_value(runner):
    @in_flow(runner)
    def body():
        assert parse.map(parse.submit([1, 2])).result() == [1, 2]


def test_a_future_of_a_single_value_goes_to_each_run(runner):
    @in_flow(runner)
    def body():
        calls = submitted_by([1, 2], future := parse.submit("ab"))

        assert [args for args, _ in calls] == [(1, future), (2, future)]
        assert join.map([1, 2], future).result() == [(1, "ab", "-"), (2, "ab", "-")]


def test_a_future_that_failed_fails_the_map(runner):
    @in_flow(runner)
    def body():
        with pytest.raises(ValueError, match="why"):
            join.map([1, 2], fail.submit("why"))


def test_a_future_that_is_unmapped_is_not_waited_for():
    @in_flow(THREADS)
    def body():
        gate = Event()
        future = wait_at.submit(gate)

        futures = join.map([1, 2], unmapped(future))

        assert not future.done()
        gate.set()
        assert futures.result() == [(1, True, "-"), (2, True, "-")]


@pytest.mark.parametrize("kind", [TaskFutureList, list, tuple, iter])
def test_a_list_of_futures_is_mapped_over_without_waiting_for_them(kind):
    @in_flow(THREADS)
    def body():
        gate = Event()
        futures = TaskFutureList([wait_at.submit(gate), parse.submit(2)])

        following = parse.map(kind(futures))

        assert not futures.done()
        gate.set()
        assert following.result() == [True, 2]


def test_only_what_depends_on_a_failure_is_skipped(runner):
    @in_flow(runner)
    def body():
        following = parse.map([parse.submit(1), fail.submit(2), parse.submit(3)])

        assert following.result(on_error="skip") == [1, 3]


# What is refused


@pytest.mark.parametrize(
    ("args", "kwargs", "label"),
    [
        (([1], {"a": 1}), {}, "argument 'second'"),
        (([1], 2, 3, {"a": 1}), {}, "argument 4"),
        (([1], 2), {"third": {}}, "argument 'third'"),
    ],
)
def test_a_mapping_is_refused_with_what_to_pass_instead(args, kwargs, label):
    reason = (
        rf"^task 'join' cannot be mapped over a mapping, which {label} is: "
        r"pass unmapped\(d\) to give it to each run, or list\(d\) to map over its keys$"
    )

    with pytest.raises(TypeError, match=reason):
        submitted_by(*args, **kwargs)


def test_a_future_of_a_mapping_is_refused_too():
    @in_flow(SequentialTaskRunner())
    def body():
        with pytest.raises(TypeError, match="cannot be mapped over a mapping, which argument 'x'"):
            parse.map(parse.submit({"a": 1}))


@pytest.mark.parametrize("args", [(), (1, "text"), (unmapped([1]), 2)])
def test_a_map_over_nothing_iterable_is_refused(args):
    reason = r"^task 'join' has nothing to be mapped over.*: pass a list .* or call submit\(\)"

    with pytest.raises(TypeError, match=reason):
        submitted_by(*args)


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        (([1, 2], [3]), {}, "argument 'first': 2, argument 'second': 1"),
        (([1, 2], 0, [], (1,)), {}, "argument 'first': 2, argument 3: 0, argument 4: 1"),
        (([1, 2], 0), {"third": range(3)}, "argument 'first': 2, argument 'third': 3"),
        (([1, 2], Source(1)), {}, "argument 'first': 2, argument 'second': 1"),
        ((Source(3), [1, 2]), {}, "argument 'first': more than 2, argument 'second': 2"),
        ((Source(1), Source(0)), {}, "argument 'first': 1, argument 'second': 0"),
        ((count(), [1, 2]), {}, "argument 'first': more than 2, argument 'second': 2"),
        (([1, 2], repeat(0)), {}, "argument 'first': 2, argument 'second': more than 2"),
    ],
)
def test_different_lengths_are_refused_before_anything_is_submitted(args, kwargs, told):
    calls = []
    arguments = None

    with pytest.raises(ValueError, match=f"^task 'join' is mapped .* \\({told}\\): make them"):
        arguments = MappedArguments("join", inspect.signature(join.fn), args, kwargs)
        arguments.submit_all(lambda *call: calls.append(call))

    assert calls == []


def test_known_lengths_are_compared_before_iterators_are_read():
    source = Source(5)

    with pytest.raises(ValueError, match="different lengths"):
        submitted_by([1, 2], source, [3])

    assert source.read == 0


def test_arguments_that_do_not_fit_the_function_are_refused_even_for_no_run():
    @in_flow(SequentialTaskRunner())
    def body():
        with pytest.raises(TypeError, match="task 'parse': "):
            parse.map([], [])


@pytest.mark.parametrize("options", [{}, {"buffersize": 2}])
def test_a_map_outside_of_a_flow_is_refused(options):
    with pytest.raises(NotInFlowError, match="'parse'"):
        parse.map([1], **options)


def test_what_a_source_raises_passes_before_anything_is_submitted():
    def broken():
        yield 1
        raise OSError("unreadable")

    @flow(task_runner=SequentialTaskRunner)
    def body():
        with pytest.raises(OSError, match="unreadable"):
            parse.map(broken())
        return "handled"

    run = body.run()

    assert run.submitted == 0


# As the results are taken


@pytest.mark.parametrize("size", [0, 1, 2, 7])
@pytest.mark.parametrize("buffersize", [1, 2, 100])
def test_futures_come_in_order_and_are_final(runner, size, buffersize):
    @in_flow(runner)
    def body():
        coming = parse.map(iter(range(size)), buffersize=buffersize)

        assert type(coming) is TaskFutureIterator
        assert [(future.done(), future.result()) for future in coming] == [
            (True, number) for number in range(size)
        ]


def test_only_so_much_is_read_and_submitted_as_there_is_room_for():
    source = Source(100)

    @flow(task_runner=THREADS)
    def body():
        read = []
        coming = parse.map(source, buffersize=3)
        read.append(source.read)
        for _ in range(4):
            next(coming)
            read.append(source.read)
        return read

    run = body.run()

    assert run.result() == [0, 3, 4, 5, 6]
    assert run.submitted == 6


def test_a_future_comes_only_after_those_before_it():
    @in_flow(THREADS)
    def body():
        gates = [Event(), Event()]
        coming = wait_at.map(gates, buffersize=2)
        gates[1].set()
        opener = threading.Timer(0, gates[0].set)
        opener.start()

        assert [future.task_run.index for future in coming] == [0, 1]
        opener.join()


def test_a_future_comes_however_its_run_ended(runner):
    @in_flow(runner)
    def body():
        names = [future.state.name for future in fail.map([1, 2], buffersize=1)]

        assert names == ["Failed", "Failed"]


def test_endless_sources_can_be_mapped_over_in_part():
    @in_flow(THREADS)
    def body():
        coming = join.map(count(), repeat("x"), third=unmapped([1]), buffersize=2)

        assert next(coming).result() == (0, "x", [1])
        assert next(coming).result() == (1, "x", [1])


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_nothing_more_is_submitted_once_it_is_closed_or_dropped(leave):
    source = Source(100)

    @flow(task_runner=SequentialTaskRunner)
    def body():
        coming = parse.map(source, buffersize=3)
        next(coming)
        if leave == "close":
            coming.close()
            coming.close()
            assert list(coming) == []
        del coming
        return "left"

    run = body.run()

    assert run.result() == "left"
    assert (run.submitted, source.read) == (3, 3)


def test_known_lengths_that_differ_are_refused_at_once():
    @flow(task_runner=SequentialTaskRunner)
    def body():
        with pytest.raises(ValueError, match="'first': 2, argument 'second': 1"):
            join.map([1, 2], [3], buffersize=1)
        return "handled"

    assert body.run().submitted == 0


def test_lengths_that_turn_out_to_differ_are_refused_when_that_is_found():
    @in_flow(THREADS)
    def body():
        coming = join.map(Source(5), Source(2), buffersize=1)

        assert [next(coming).result()[:2] for _ in range(2)] == [(0, 0), (1, 1)]
        with pytest.raises(
            ValueError, match=r"\(argument 'first': more than 2, argument 'second': 2\)"
        ):
            next(coming)
        assert list(coming) == []


def test_runs_that_were_submitted_before_a_source_broke_can_still_be_had():
    def broken():
        yield from "ab"
        raise OSError("unreadable")

    @in_flow(THREADS)
    def body():
        coming = parse.map(broken(), buffersize=5)

        with pytest.raises(OSError, match="unreadable"):
            next(coming)
        assert [future.result() for future in coming] == ["a", "b"]


@pytest.mark.parametrize(
    ("buffersize", "kind", "reason"),
    [
        (0, ValueError, "^buffersize is at least 1, not 0$"),
        (-1, ValueError, "^buffersize is at least 1, not -1$"),
        (1.5, TypeError, "^buffersize is an integer or None, not 1.5$"),
        ("2", TypeError, "^buffersize is an integer or None, not '2'$"),
    ],
)
def test_a_buffersize_that_does_not_fit_is_refused(buffersize, kind, reason):
    @in_flow(SequentialTaskRunner())
    def body():
        with pytest.raises(kind, match=reason):
            parse.map([1], buffersize=buffersize)


# In coroutines


@pytest.mark.parametrize("buffersize", [1, 3, 100])
def test_futures_can_be_taken_in_a_coroutine(runner, buffersize):
    @flow(task_runner=runner)
    async def body():
        return [await future async for future in parse.map(range(7), buffersize=buffersize)]

    assert asyncio.run(body()) == [*range(7)]


def test_taking_in_a_coroutine_does_not_block_the_loop_nor_raise_for_failures():
    @flow(task_runner=THREADS)
    async def body():
        gate = Event()
        asyncio.get_running_loop().call_later(0, gate.set)
        coming = wait_at.map([gate], buffersize=1)
        return [await future async for future in coming] + [
            future.state.name async for future in fail.map([1], buffersize=1)
        ]

    run = asyncio.run(body.run())

    assert run.result() == [True, "Failed"]


def test_taking_that_is_cancelled_loses_nothing():
    @flow(task_runner=THREADS)
    async def body():
        gate = Event()
        coming = wait_at.map([gate, gate], buffersize=2)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(coming), timeout=0.001)
        gate.set()
        return [await future async for future in coming]

    assert asyncio.run(body()) == [True, True]


# Many


def test_thousands_of_runs_are_mapped_and_mapped_again():
    @in_flow(THREADS)
    def body():
        numbers = range(3_000)

        results = parse.map(parse.map(numbers)).result()

        assert results == [*numbers]
        coming = parse.map(parse.map(numbers), buffersize=50)
        assert [future.result() for future in coming] == [*numbers]
