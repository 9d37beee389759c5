import asyncio
import functools
import importlib
import inspect
import math
import operator
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import attrs
import cloudpickle
import pytest

from runnerstone import TaskFuture, flow, task
from runnerstone.errors import FlowRunEndedError, NotInFlowError
from runnerstone.tasks import Task, task_key


@task
def parse(path, *, depth=0):
    """Parse one file."""
    return path, depth


@task
async def parse_later(path):
    await asyncio.sleep(0)
    return path


# Options


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({"name": 5}, TypeError, "name is a string or None, not 5"),
        ({"tags": "nightly"}, TypeError, "^tags are several strings, as in .*, not 'nightly'"),
        ({"tags": 5}, TypeError, "tags are several strings"),
        ({"retries": 1.5}, TypeError, "retries is a whole number, not 1.5"),
        ({"retries": True}, TypeError, "retries is a whole number, not True"),
        ({"retries": -1}, ValueError, "retries cannot be negative, as -1 is"),
        ({"retry_delay_seconds": "soon"}, TypeError, "retry_delay_seconds is a number"),
        ({"retry_delay_seconds": -0.5}, ValueError, "from 0 to 9e.09, not -0.5"),
        ({"retry_delay_seconds": math.nan}, ValueError, "from 0 to 9e.09, not nan"),
        ({"retry_delay_seconds": []}, ValueError, "empty sequence: give one number at least"),
        ({"retry_delay_seconds": [1, "two"]}, TypeError, r"not \[1, 'two'\]"),
        ({"retry_jitter": -1}, ValueError, "retry_jitter is from 0 on, and finite, not -1"),
        ({"retry_on": "ValueError"}, TypeError, "retry_on is an exception's type"),
        ({"retry_on": (ValueError, 5)}, TypeError, "retry_on is an exception's type"),
        ({"crash_retries": 0.5}, TypeError, "crash_retries is a whole number, not 0.5"),
        (
            {"timeout_seconds": 0},
            ValueError,
            "timeout_seconds is more than 0 and at most 9e.09, not 0",
        ),
        ({"timeout_seconds": "1"}, TypeError, "timeout_seconds is a number of seconds or None"),
        ({"task_run_name": 5}, TypeError, "task_run_name is a template or a callable"),
        ({"timeout_seconds": math.inf}, ValueError, "None sets no limit"),
        ({"retry_delay_seconds": math.inf}, ValueError, "not inf"),
        ({"resources": 3}, TypeError, "resources is a mapping, not 3"),
        ({"log_prints": "yes"}, TypeError, "log_prints is True, False or None"),
        ({"on_failure": 5}, TypeError, "a hook is a callable, or a sequence of them, not 5"),
        ({"description": 5}, TypeError, "description is a string or None"),
        ({"retrys": 1}, TypeError, "a task has no option 'retrys'; did you mean 'retries'"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(options, kind, reason):
    with pytest.raises(kind, match=reason):
        task(**options)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{pth}", "no parameter 'pth'; did you mean 'path'"),
        ("{}", "no parameter ''"),
        ("{path", "task 'parse' has the run name '{path'"),
    ],
)
def test_a_template_that_does_not_fit_the_function_is_refused(template, reason):
    with pytest.raises(ValueError, match=reason):
        parse.with_options(task_run_name=template)


def test_options_that_do_not_fit_are_refused_where_they_are_changed():
    with pytest.raises(ValueError, match="retries cannot be negative, as -1 is"):
        parse.with_options(retries=-1)


def test_options_default_to_one_attempt_without_ado():
    options = parse.options

    assert (options.name, options.tags, options.retries) == (None, frozenset(), 0)
    assert (options.retry_delay_seconds, options.resources, options.runner_options) == (0, {}, {})


def test_options_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        parse.options.retries = 3


def test_with_options_changes_some_and_keeps_the_others():
    first = task(retries=2, tags=["nightly"])(len)

    second = first.with_options(retries=5, name="count")

    assert (first.name, first.options.retries) == ("len", 2)
    assert (second.name, second.options.retries) == ("count", 5)
    assert second.options.tags == {"nightly"}
    assert second.fn is len


def test_tasks_of_one_function_do_not_share_their_options():
    first, second = task(len), task(len)

    assert first.options.resources is not second.options.resources


# Names and keys


def test_keys_of_a_script_are_those_that_prefect_printed(python):
    script = """if True:
        from runnerstone import task

        @task
        def hello_local(): ...

        @task
        def hello_dask(): ...

        print(hello_local.key, hello_dask.key)
    """

    finished = python.run(["-c", script])

    assert finished.stdout == "a087a829 e80d21db\n"


def test_a_task_is_named_after_its_function():
    assert parse.name == "parse"
    assert task(lambda: 1).name == "<lambda>"


def test_a_task_may_have_a_name_of_its_own():
    named = task(name="read a file")(len)

    assert named.name == "read a file"


def test_a_task_of_an_object_is_named_after_its_class():
    class Reader:
        def __call__(self):
            return "read"

    assert task(Reader()).name == "Reader"


def test_the_key_tells_tasks_of_one_name_apart():
    def other():
        def parse():
            return 1

        return task(parse)

    keys = {
        parse.key,
        other().key,
        parse.with_options(tags=["a"]).key,
        parse.with_options(tags=["b"]).key,
        parse.with_options(name="parse ").key,
    }

    assert len(keys) == 5


def test_the_key_depends_on_nothing_but_name_function_and_tags():
    one = parse.with_options(tags=["a", "b"], retries=3)
    two = parse.with_options(tags=["b", "a"], retry_delay_seconds=1)

    assert one.key == two.key
    assert task_key("parse", parse.fn, []) == parse.key


# What it is made of


@pytest.mark.parametrize("thing", [5, "parse", [len]])
def test_a_task_is_made_of_something_that_can_be_called(thing):
    with pytest.raises(TypeError, match=r"^a task is made of a function or another callable, not"):
        task(thing)


def test_the_decorator_takes_options_or_none():
    bare, called, named = task(len), task()(len), task(name="count")(len)

    assert (bare.options, called.options) == (parse.options, parse.options)
    assert named.name == "count"


def test_a_task_looks_like_its_function():
    assert parse.__name__ == "parse"
    assert parse.__doc__ == "Parse one file."
    assert parse.__wrapped__ is parse.fn
    assert inspect.signature(parse) == inspect.signature(parse.fn)


def test_a_task_prints_its_name():
    assert repr(parse) == "<Task 'parse'>"


def test_attributes_of_the_function_do_not_become_the_tasks():
    class Model:
        key = "model"
        submit = "ready"

        def __reduce__(self):
            return "Model"

    made = task(Model)

    assert made.key != "model"
    assert callable(made.submit)
    assert isinstance(cloudpickle.loads(cloudpickle.dumps(made)), Task)


@pytest.mark.parametrize(
    ("fn", "args", "value"),
    [
        (len, ([1, 2],), 2),
        (max, (1, 3, 2), 3),  # which has no signature
        (dict, ([("a", 1)],), {"a": 1}),
        (str.upper, ("a",), "A"),
        ([1, 2].index, (2,), 1),
        (operator.itemgetter(1), ("ab",), "b"),
        (functools.partial(pow, 2), (3,), 8),
    ],
)
def test_anything_that_can_be_called_makes_a_task(fn, args, value):
    made = task(fn)

    @flow
    def body():
        return made.submit(*args)

    assert made(*args) == value
    assert body() == value


def test_a_parameter_named_wait_for_is_refused():
    def build(target, wait_for=()):
        return target, wait_for

    with pytest.raises(TypeError, match=r"^task 'build' has a parameter 'wait_for', which submit"):
        task(build)


class Later:
    async def __call__(self, x):
        await asyncio.sleep(0)
        return x


@pytest.mark.parametrize(
    ("fn", "is_async"),
    [
        (parse.fn, False),
        (parse_later.fn, True),
        (functools.partial(parse_later.fn, 1), True),
        (Later(), True),
        (Later, False),
    ],
)
def test_a_task_knows_whether_it_is_a_coroutine_functions(fn, is_async):
    assert task(fn).is_async is is_async


# Called


def test_outside_of_a_flow_a_task_is_its_function():
    assert parse("a", depth=2) == ("a", 2)


def test_outside_of_a_flow_an_async_task_is_its_coroutine_function():
    coroutine = parse_later("a")

    assert inspect.iscoroutine(coroutine)
    assert asyncio.run(coroutine) == "a"


@pytest.mark.parametrize("called", [parse, parse_later])
def test_in_a_flow_calling_a_task_submits_a_run(called):
    @flow
    def body():
        future = called("a")

        assert type(future) is TaskFuture
        assert future.name == f"{called.name}-{called.key}-0"

    body()


def test_in_a_flow_the_plain_function_is_still_at_hand():
    @flow
    def body():
        assert parse.fn("a") == ("a", 0)

    run = body.run()

    assert run.submitted == 0
    assert run.error is None


def test_in_a_task_another_task_is_its_function():
    @task
    def outer():
        return parse("a")

    run = flow(lambda: [outer.submit()]).run()

    assert run.result() == [("a", 0)]
    assert run.submitted == 1


def test_on_a_thread_that_knows_nothing_of_the_flow_a_task_is_its_function():
    values = []

    @flow
    def body():
        thread = threading.Thread(target=lambda: values.append(parse("a")))
        thread.start()
        thread.join()

    body()

    assert values == [("a", 0)]


def test_on_a_thread_with_the_flows_context_a_task_is_submitted():
    @flow
    def body():
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(copy_context().run, parse, "a").result()

    run = body.run()

    assert run.result() == ("a", 0)
    assert run.submitted == 1


def test_every_name_of_a_parameter_is_the_users():
    @task
    def greedy(self, fn, name, key, args, kwargs, task, run, retries):
        return [self, fn, name, key, args, kwargs, task, run, retries]

    names = list(inspect.signature(greedy).parameters)
    arguments = {name: number for number, name in enumerate(names)}

    @flow
    def body(self, fn, **others):
        everything = {"self": self, "fn": fn, **others}
        return greedy(**everything), greedy.submit(**everything), greedy.fn(**everything)

    assert body(**arguments) == body.run(**arguments).result() == (list(range(9)),) * 3
    assert greedy(**arguments) == list(range(9))


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ((), {}, "task 'parse': missing a required argument: 'path'"),
        (("a", "b"), {}, "task 'parse': too many positional arguments"),
        (("a",), {"dept": 1}, "task 'parse': got an unexpected keyword argument 'dept'"),
        (("a",), {"path": "b"}, "task 'parse': multiple values for argument 'path'"),
    ],
)
@pytest.mark.parametrize("submit", [parse, parse.submit], ids=["called", "submitted"])
def test_wrong_arguments_are_a_type_error_at_the_call(submit, args, kwargs, reason):
    @flow
    def body():
        with pytest.raises(TypeError, match=rf"^{reason}$"):
            submit(*args, **kwargs)

    run = body.run()

    assert run.error is None
    assert run.submitted == 0


@pytest.mark.parametrize(
    ("fn", "fits", "fails"),
    [
        (lambda: 0, [()], [(1,)]),
        (lambda x, y=0: x, [(1,), (1, 2)], [(), (1, 2, 3)]),
        (lambda x, *rest: x, [(1,), (1, 2, 3)], [()]),
        (lambda *, x: x, [], [(), (1,)]),
        (lambda *, x=0: x, [()], [(1,)]),
        (lambda x, /, **more: x, [(1,)], [(), (1, 2)]),
        (max, [(), (1, 2, 3)], []),
    ],
)
def test_positional_arguments_are_counted(fn, fits, fails):
    checked = task(fn)

    for args in fits:
        checked.check_arguments(args, {})
    for args in fails:
        with pytest.raises(TypeError, match="argument"):
            checked.check_arguments(args, {})


def test_arguments_are_told_by_the_names_of_their_parameters():
    assert parse.parts(("a",), {"depth": 2}) == {"path": "a", "depth": 2}


# Submitted


def test_submit_outside_of_a_flow_says_what_to_do():
    with pytest.raises(NotInFlowError) as raised:
        parse.submit("a")

    assert str(raised.value) == (
        "task 'parse' was submitted outside of a flow: submit it in a flow's body, or run it right "
        "here with parse(...)"
    )


@pytest.mark.parametrize("runner", ["sequential", "concurrent"])
def test_submit_inside_of_a_task_says_what_to_do(runner):
    @task
    def outer():
        parse.submit("a")

    with pytest.raises(NotInFlowError, match="task 'parse' was submitted inside a task: submit"):
        flow(task_runner=runner)(lambda: [outer()])()


def test_submit_to_a_flow_run_that_is_over_is_refused():
    contexts = []
    run = flow(lambda: contexts.append(copy_context())).run()

    with pytest.raises(
        FlowRunEndedError,
        match=f"task 'parse' was submitted to flow run '{run.name}', which is over",
    ):
        contexts[0].run(parse.submit, "a")


@pytest.mark.parametrize("runner", ["sequential", "concurrent"])
def test_what_a_run_waits_for_comes_first(runner):
    order = []
    note = task(order.append)

    @flow(task_runner=runner)
    def body():
        first = note.submit("first")
        second = note.submit("second", wait_for=[first])
        note.submit("third", wait_for=(future for future in [first, second]))

    body()

    assert order == ["first", "second", "third"]


def test_a_run_that_waits_for_a_failure_is_skipped():
    @task
    def fail():
        raise ValueError("no")

    @flow
    def body():
        failed = fail.submit()
        skipped = parse.submit("a", wait_for=[failed])
        skipped.wait()
        return str(skipped.state)

    assert "Upstream task run 'fail-" in body()


@pytest.mark.parametrize("runner", ["sequential", "concurrent"])
@pytest.mark.parametrize("thing", [5, "future", None, parse])
def test_only_futures_can_be_waited_for(runner, thing):
    @flow(task_runner=runner)
    def body():
        with pytest.raises(TypeError, match=r"^wait_for takes the futures of task runs, not"):
            parse.submit("a", wait_for=[thing])

    run = body.run()

    assert run.error is None
    assert run.submitted == 0


# Travelling


def test_a_task_travels_by_its_name_where_that_leads_to_it():
    assert pickle.loads(pickle.dumps(parse)) is parse


def test_a_task_that_travels_by_its_name_is_imported_where_it_arrives(site):
    site.add_module(
        "elsewhere", "from runnerstone import task\n\n@task\ndef double(x):\n    return 2 * x\n"
    )
    data = pickle.dumps(importlib.import_module("elsewhere").double)
    del sys.modules["elsewhere"]

    copy = pickle.loads(data)

    assert copy is sys.modules["elsewhere"].double


class Namespace:
    @task
    @staticmethod
    def inner():
        return "inner"


def test_a_task_in_a_class_travels_by_its_name():
    assert pickle.loads(pickle.dumps(Namespace.inner)) is Namespace.inner


def test_a_task_with_other_options_travels_by_value():
    changed = parse.with_options(name="read", tags={"io"})

    copy = cloudpickle.loads(cloudpickle.dumps(changed))

    assert copy is not changed
    assert (copy.name, copy.key, copy.tags) == ("read", changed.key, {"io"})
    assert copy("a") == ("a", 0)


def test_what_concerns_the_driver_alone_stays_behind():
    changed = parse.with_options(runner_options={"dask": {"priority": 1}})

    copy = cloudpickle.loads(cloudpickle.dumps(changed))

    assert copy.options.runner_options == {}


@pytest.mark.parametrize("registered", ["only_here", "only_here.tasks"])
def test_a_task_of_a_module_by_value_travels_by_value(site, registered):
    package = site.folder / "only_here"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tasks.py").write_text(
        "from runnerstone import task\n\n@task\ndef double(x):\n    return 2 * x\n"
    )
    importlib.invalidate_caches()
    double = importlib.import_module("only_here.tasks").double
    by_value = sys.modules[registered]

    cloudpickle.register_pickle_by_value(by_value)
    data = cloudpickle.dumps(double)
    cloudpickle.unregister_pickle_by_value(by_value)
    del sys.modules["only_here.tasks"], sys.modules["only_here"]
    sys.path.remove(str(site.folder))

    assert cloudpickle.loads(data)(4) == 8
