"""Tasks and flows of whatever can be called."""

import asyncio
import functools
import sys

import attrs
import pytest

from runnerstone import TaskFuture, flow, task, unmapped
from runnerstone.errors import NotInFlowError


class Scale:
    """What calculates."""

    default = 10

    def __init__(self, factor):
        self.factor = factor

    @task(retries=1)
    def apply(self, number, *, offset=0):
        """Multiply."""
        return self.factor * number + offset

    @task
    async def apply_async(self, number):
        await asyncio.sleep(0)
        return self.factor * number

    @task(name="standard")
    @classmethod
    def apply_default(cls, number):
        return cls.default * number

    @task
    @staticmethod
    def double(number):
        return 2 * number

    @task
    def apply_twice(self, number):
        return self.apply(self.apply(number))

    @flow(task_runner="sequential")
    def apply_all(self, numbers):
        return self.apply.map(numbers)

    @flow(task_runner="sequential")
    @classmethod
    def apply_default_to_all(cls, numbers):
        return [cls.apply_default(number) for number in numbers]

    @flow(task_runner="sequential")
    @staticmethod
    def double_all(numbers):
        return Scale.double.map(numbers)

    @flow(task_runner="sequential")
    async def apply_all_async(self, numbers):
        return await asyncio.gather(*self.apply_async.map(numbers))


class Decimal(Scale):
    default = 100


class Adder:
    """A callable object, which travels with what it holds."""

    def __init__(self, summand):
        self.summand = summand

    def __call__(self, number):
        return number + self.summand


class AsyncAdder(Adder):
    async def __call__(self, number):
        await asyncio.sleep(0)
        return number + self.summand


def value_of(body, runner):
    return flow(task_runner=runner)(body)()


# Tasks


def test_a_method_is_submitted_with_its_instance(runner):
    scale = Scale(3)

    def body():
        future = scale.apply(2)
        assert isinstance(future, TaskFuture)
        return [future, scale.apply.submit(2, offset=1), Scale(5).apply(2)]

    assert value_of(body, runner) == [6, 7, 10]


def test_a_coroutine_method_is_submitted_with_its_instance(runner):
    assert value_of(lambda: Scale(3).apply_async(2), runner) == 6


def test_a_task_of_a_class_takes_the_instance_as_its_first_argument(runner):
    assert value_of(lambda: Scale.apply(Scale(3), 2), runner) == 6


@pytest.mark.parametrize("owner", [Scale, Scale(1)], ids=["class", "instance"])
def test_class_methods_and_static_methods_are_submitted_from_either(runner, owner):
    assert value_of(lambda: [owner.apply_default(2), owner.double(4)], runner) == [20, 8]


def test_a_class_method_is_given_the_class_that_it_was_got_from(runner):
    assert value_of(lambda: [Decimal.apply_default(2), Decimal(1).apply_default(3)], runner) == [
        200,
        300,
    ]


def test_methods_are_mapped(runner):
    scale = Scale(3)

    def body():
        return [
            scale.apply.map([1, 2], offset=1),
            Scale.apply_default.map(range(3)),
            Scale.double.map(scale.apply.map([1, 2])),
            Scale.apply.map(unmapped(scale), [5]),
        ]

    assert value_of(body, runner) == [[4, 7], [0, 10, 20], [6, 12], [15]]


def test_an_instance_that_is_iterable_is_not_mapped_over(runner):
    class Rows(list):
        @task
        def scaled(self, factor):
            return [row * factor for row in self]

    rows = Rows([1, 2])

    assert value_of(lambda: rows.scaled.map([10, 100]), runner) == [[10, 20], [100, 200]]


def test_a_future_among_a_methods_arguments_is_its_value(runner):
    scale = Scale(3)

    assert value_of(lambda: scale.apply(scale.apply(1), offset=scale.apply(2)), runner) == 15


def test_a_future_in_the_instance_is_found_like_in_any_argument():
    @attrs.define
    class Holder:
        content: object

        @task
        def look(self):
            return self.content

    assert value_of(lambda: Holder(Scale(3).apply(2)).look(), "concurrent") == 6


def test_with_options_gives_the_same_method_with_others(runner):
    scale = Scale(3)
    named = scale.apply.with_options(task_run_name="{self.factor} times {number}", name="times")

    def body():
        future = named.submit(4)
        return future.name, future, named.map([1, 2])

    assert value_of(body, runner) == ("3 times 4", 12, [3, 6])
    assert (named.name, scale.apply.name) == ("times", "apply")
    assert named.task.options.retries == 1
    assert named.owner is scale


def test_with_options_keeps_class_methods_and_static_methods_what_they_are(runner):
    class Other(Scale):
        apply_default = Scale.__dict__["apply_default"].with_options(retries=2)
        double = Scale.double.with_options(retries=2)

    assert value_of(lambda: [Other.apply_default(1), Other(1).double(2)], runner) == [10, 4]


def test_outside_of_a_flow_methods_are_methods():
    scale = Scale(3)

    assert scale.apply(2, offset=1) == 7
    assert scale.apply.fn(2) == 6
    assert Scale.apply.fn(scale, 2) == 6
    assert Scale.apply_default(2) == 20
    assert Decimal(1).apply_default(2) == 200
    assert Scale.double(2) == scale.double(2) == 4
    assert asyncio.run(scale.apply_async(2)) == 6
    with pytest.raises(NotInFlowError, match="task 'apply' was submitted outside of a flow"):
        scale.apply.submit(2)


def test_in_a_task_methods_are_methods(runner):
    assert value_of(lambda: Scale(3).apply_twice(2), runner) == 18


def test_a_method_tells_its_name_and_its_description():
    scale = Scale(3)

    assert (scale.apply.name, Scale.apply_default.name) == ("apply", "standard")
    assert scale.apply.__doc__ == "Multiply."
    assert repr(scale.apply) == "<BoundTask 'apply' of Scale>"


def test_runs_of_a_method_are_numbered_over_all_instances():
    def body():
        return [Scale(number).apply.submit(1).name for number in (1, 2)]

    assert value_of(body, "sequential") == [f"apply-{Scale.apply.key}-{it}" for it in (0, 1)]


def test_wrong_arguments_of_a_method_are_a_type_error_at_the_call(runner):
    def body():
        with pytest.raises(TypeError, match="task 'apply': missing a required argument: 'number'"):
            Scale(3).apply()
        with pytest.raises(TypeError, match="task 'apply': too many positional arguments"):
            Scale(3).apply(1, 2)
        return "refused"

    assert value_of(body, runner) == "refused"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="class methods bind what they wrap there")
def test_a_decorator_below_classmethod_is_told_of():
    class Wrong:
        @classmethod
        @task
        def make(cls, number):
            return number

    with pytest.raises(TypeError, match="write @task above @classmethod"):
        value_of(lambda: Wrong.make.submit(1), "sequential")


def test_a_bound_method_may_be_made_a_task_of(runner):
    add = task(Adder(3).__call__)

    assert value_of(lambda: add(4), runner) == 7


# Flows


def test_a_flow_may_be_a_method():
    scale = Scale(3)

    assert scale.apply_all([1, 2]) == [3, 6]
    assert scale.apply_all.run([1]).flow_name == "apply-all"
    assert Scale.apply_all(scale, [4]) == [12]
    assert asyncio.run(scale.apply_all_async([1, 2])) == [3, 6]


def test_a_flow_may_be_a_class_method_or_a_static_method():
    assert Scale.apply_default_to_all([1, 2]) == [10, 20]
    assert Decimal(1).apply_default_to_all([1]) == [100]
    assert Scale.double_all([1]) == Scale(1).double_all([1]) == [2]


def test_a_method_is_described_by_its_docstring_or_not_at_all():
    assert Scale.apply.description == Scale(3).apply.task.description == "Multiply."
    assert Scale.apply_default.task.description is None
    assert Scale.apply_default_to_all.description is None
    assert Scale(3).apply_all.description is None
    assert task(Adder(3)).description == "A callable object, which travels with what it holds."


def test_a_flow_that_is_a_method_may_be_a_subflow():
    scale = Scale(3)

    assert value_of(lambda: scale.apply_all([scale.apply(1), 2]), "concurrent") == [9, 6]


def test_with_options_of_a_bound_flow_stays_bound():
    named = Scale(3).apply_all.with_options(flow_run_name="all of {numbers}")

    run = named.run([1])

    assert (run.name, run.result()) == ("all of [1]", [3])


# Other callables


@pytest.mark.parametrize(
    ("fn", "name", "value"),
    [
        (functools.partial(pow, 2), "pow", 8),
        (functools.partial(functools.partial(pow), 2), "pow", 8),
        (lambda number: number - 1, "<lambda>", 2),
        (Adder(4), "Adder", 7),
        (AsyncAdder(5), "AsyncAdder", 8),
        (str, "str", "3"),
    ],
    ids=["partial", "partial of partial", "lambda", "object", "async object", "class"],
)
def test_whatever_can_be_called_is_a_task(runner, fn, name, value):
    made = task(fn)

    assert made.name == name
    assert value_of(lambda: [made(3), *made.map([3])], runner) == [value, value]


def test_a_partial_of_a_coroutine_function_is_one():
    async def add(one, other):
        return one + other

    made = task(functools.partial(add, 1))

    assert made.is_async
    assert value_of(lambda: made(2), "concurrent") == 3


def test_a_task_of_what_is_no_function_is_no_method():
    class Holder:
        measure = task(Adder(1))
        power = task(functools.partial(pow, 2))

    assert Holder().measure(2) == 3
    assert Holder().power(3) == 8


@pytest.mark.parametrize("made", [Scale.double, Scale.apply_default, Scale(1).apply])
def test_a_task_of_a_task_is_refused_with_what_to_do(made):
    with pytest.raises(TypeError, match=r"is a task already: change it by with_options\(...\)"):
        task(made)
