import copy
import gc
import os
import pickle
import textwrap
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

import attrs
import numpy as np
import pytest

from runnerstone import contracts, flow, task
from runnerstone._pickles import dump
from runnerstone.contracts import (
    Capabilities,
    Reference,
    Report,
    TaskRunner,
    TaskRunnerSpec,
    check_task_runner_class,
    relay,
)
from runnerstone.errors import InvalidTaskRunnerError, TaskRunnerError, ValueLostError
from runnerstone.outcomes import Crash, Outcome
from runnerstone.states import Failed, StateType


class InlineTaskRunner(TaskRunner):
    """Runs calls at once."""

    size: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    label: str = "inline"

    capabilities = Capabilities(parallel=False, shares_memory=True)

    def submit(self, call, report):
        report.done(call(*call.upstream))


class PlainTaskRunner(TaskRunner):
    size: int = 3

    def submit(self, call, report):
        """Lose the call."""


class HubTaskRunner(InlineTaskRunner):
    """Has a setting without a default, and one that it inherits."""

    url: str
    label: str = "hub"


class Recorder(Report):
    """Keeps what is reported."""

    def __init__(self):
        self.outcomes = []
        self.threads = []
        self.posted = threading.Event()

    def started(self, where=None):
        """Take no note."""

    def logged(self, records):
        """Take no note."""

    def progressed(self, progress):
        """Take no note."""

    def done(self, outcome):
        self.outcomes.append(outcome)

    def post(self, outcome):
        self.threads.append(threading.current_thread())
        self.outcomes.append(outcome)
        self.posted.set()


# Settings


def test_annotated_fields_are_settings():
    runner = HubTaskRunner(url="tcp://hub", size=5)

    assert (runner.url, runner.size, runner.label) == ("tcp://hub", 5, "hub")


def test_settings_are_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        InlineTaskRunner(5)


def test_a_setting_without_a_default_has_to_be_given():
    with pytest.raises(TypeError, match="url"):
        HubTaskRunner()


def test_a_setting_is_validated():
    with pytest.raises(ValueError, match="'size' must be >= 1: 0"):
        InlineTaskRunner(size=0)


def test_the_repr_tells_the_settings():
    runner = HubTaskRunner(url="tcp://hub")

    assert repr(runner) == "HubTaskRunner(size=3, url='tcp://hub', label='hub')"


def test_task_runners_with_equal_settings_are_equal():
    assert InlineTaskRunner(size=2) == InlineTaskRunner(size=2)
    assert InlineTaskRunner(size=2) != InlineTaskRunner(size=4)
    assert InlineTaskRunner() != HubTaskRunner(url="tcp://hub", label="inline")


def test_what_is_not_annotated_is_no_setting():
    class PoolTaskRunner(InlineTaskRunner):
        _pool = None

        def start(self):
            self._pool = object()

    runner = PoolTaskRunner()
    runner.start()

    assert runner == PoolTaskRunner()
    assert repr(runner).endswith("PoolTaskRunner(size=3, label='inline')")


def test_capabilities_are_the_classs_and_an_instance_may_narrow_them():
    class ProudTaskRunner(InlineTaskRunner):
        kills: bool = True

        capabilities = Capabilities(kills=True)

        def __attrs_post_init__(self):
            self.capabilities = attrs.evolve(self.capabilities, kills=self.kills)

    narrowed = ProudTaskRunner(kills=False).copy_for_run()

    assert ProudTaskRunner.capabilities.kills
    assert not narrowed.capabilities.kills


def test_a_task_runner_that_says_nothing_of_itself_promises_nothing():
    promised = attrs.asdict(Capabilities())

    assert promised == {
        "parallel": True,
        "distributed": False,
        "shares_memory": False,
        "cancels_queued": False,
        "interrupts": False,
        "kills": False,
        "knows_resources": False,
        "inline_limit": 64 * 1024,
        "gains_from_packing": False,
    }


def test_capabilities_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        InlineTaskRunner.capabilities.kills = True


def test_equal_specs_describe_equal_task_runners():
    def spec(**more):
        return TaskRunnerSpec(name="inline", path="package.module:Class", summary="Fast.", **more)

    assert spec() == spec()
    assert spec() != spec(capabilities=Capabilities(kills=True))


# Classes that break the contract


def no_submit():
    class IdleTaskRunner(TaskRunner):
        pass

    return IdleTaskRunner


def own_init():
    class OwnInitTaskRunner(InlineTaskRunner):
        def __init__(self, size=3):
            self.size = size

    return OwnInitTaskRunner


def inherited_init():
    class Middle(InlineTaskRunner):
        def __init__(self):
            self.size = 1

    class HeirTaskRunner(Middle):
        depth: int = 0

        def __init__(self):
            self.depth = 1

    return HeirTaskRunner


def mixed_in_init():
    class Greeter:
        def __init__(self):
            self.greeting = "hello"

    class GreetingTaskRunner(Greeter, InlineTaskRunner):
        def __init__(self):
            Greeter.__init__(self)

    return GreetingTaskRunner


def attrs_twice():
    @attrs.define(slots=False)
    class TwiceTaskRunner(PlainTaskRunner):
        depth: int = 0

    return TwiceTaskRunner


def attrs_frozen():
    @attrs.frozen(slots=False, kw_only=True)
    class FrozenTaskRunner(PlainTaskRunner):
        depth: int = 0

    return FrozenTaskRunner


def annotated_capabilities():
    class AnnotatedTaskRunner(InlineTaskRunner):
        capabilities: Capabilities = Capabilities()

    return AnnotatedTaskRunner


def annotated_private():
    class PrivateTaskRunner(InlineTaskRunner):
        _pool: object | None = None

    return PrivateTaskRunner


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (no_submit, "IdleTaskRunner lacks submit$"),
        (own_init, r"has an __init__ of its own \(in .*OwnInitTaskRunner\), which hides its set"),
        (inherited_init, r"has an __init__ of its own \(in .*HeirTaskRunner\), which hides its se"),
        (mixed_in_init, r"has an __init__ of its own \(in .*GreetingTaskRunner\), which hides its"),
        (attrs_twice, "is made a data class twice, which loses its settings' defaults: remove its"),
        (attrs_frozen, "is made a data class twice, which loses its settings' defaults: remove it"),
        (annotated_capabilities, "annotates capabilities, which makes a setting of it: remove the"),
        (annotated_private, "annotates _pool, which makes a setting of it: remove the annotation"),
    ],
)
def test_a_class_that_loses_or_hides_its_settings_is_refused(make, reason):
    cls = make()

    with pytest.raises(InvalidTaskRunnerError, match=reason) as raised:
        check_task_runner_class(cls)

    assert str(raised.value).startswith(f"{cls.__module__}.{cls.__qualname__} ")


def test_a_class_with_slots_is_refused_when_it_is_made():
    with pytest.raises(InvalidTaskRunnerError, match=r"SlottedTaskRunner has slots, and a task ru"):

        class SlottedTaskRunner(InlineTaskRunner):
            __slots__ = ("depth",)


def test_a_decorator_that_makes_slots_is_refused_when_it_is_applied():
    with pytest.raises(InvalidTaskRunnerError, match=r"if it is decorated, remove the decorator"):

        @attrs.define
        class DefinedTaskRunner(PlainTaskRunner):
            depth: int = 0


def test_a_refused_class_is_no_task_runner_that_can_be_had():
    assert issubclass(InvalidTaskRunnerError, TaskRunnerError)
    with pytest.raises(InvalidTaskRunnerError, match="lacks submit"):
        flow(task_runner=no_submit())(lambda: None)()


@pytest.mark.parametrize("cls", [InlineTaskRunner, HubTaskRunner])
def test_a_class_that_keeps_its_settings_passes(cls):
    check_task_runner_class(cls)


def test_a_dataclass_decorator_takes_no_setting_away():
    @dataclass
    class DataTaskRunner(PlainTaskRunner):
        depth: int = 1

    check_task_runner_class(DataTaskRunner)

    assert attrs.asdict(DataTaskRunner(size=5)) == {"size": 5, "depth": 1}


# Copies for flow runs


def test_a_copy_for_a_run_is_equal_and_another():
    runner = HubTaskRunner(url="tcp://hub", size=7)

    copied = runner.copy_for_run()

    assert copied == runner
    assert copied is not runner
    assert type(copied) is HubTaskRunner


def test_a_copy_for_a_run_does_not_take_what_another_run_holds():
    class HoldingTaskRunner(InlineTaskRunner):
        def start(self):
            self._pool = object()

    first = HoldingTaskRunner().copy_for_run()
    first.start()

    second = first.copy_for_run()

    assert not hasattr(second, "_pool")


def test_a_description_can_be_pickled():
    runner = HubTaskRunner(url="tcp://hub", size=7)

    assert pickle.loads(pickle.dumps(runner)) == runner


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_copy_in_use_refuses_pickling(duplicate):
    runner = InlineTaskRunner().copy_for_run()

    with pytest.raises(
        TypeError, match=r"^a started InlineTaskRunner cannot be pickled: it belongs"
    ):
        duplicate(runner)


def test_two_runs_of_a_flow_start_two_copies():
    started = []

    class TellingTaskRunner(InlineTaskRunner):
        def start(self):
            started.append(self)

    runner = TellingTaskRunner()
    empty = flow(task_runner=runner)(lambda: None)

    empty()
    empty()

    assert len({id(copied) for copied in [*started, runner]}) == 3


# Defaults


def test_the_least_task_runner_knows_no_slots_and_shares_nothing():
    runner = InlineTaskRunner()

    assert runner.slots() is None
    assert runner.share(dump("value")) is None


def test_a_task_runner_that_keeps_no_values_says_so_when_asked_for_one():
    with pytest.raises(ValueLostError, match=r"^InlineTaskRunner keeps no values, and made .*'h'"):
        InlineTaskRunner().fetch([Reference("h")])


class PickyTaskRunner(InlineTaskRunner):
    """Refuses bad calls."""

    def submit(self, call, report):
        if call == "bad":
            raise OSError("full")
        report.done(Outcome(call))


def test_submit_many_reports_a_refusal_for_the_one_call_alone():
    reports = [Recorder() for _ in range(3)]

    PickyTaskRunner().submit_many(list(zip(["one", "bad", "two"], reports, strict=True)))

    (first,), (refused,), (last,) = (report.outcomes for report in reports)
    assert (first.value, last.value) == ("one", "two")
    assert refused.problem.message == ("PickyTaskRunner did not accept the call: OSError('full')")
    assert isinstance(refused.problem.cause, OSError)


def test_a_call_that_is_refused_crashes_its_task_run():
    class FullTaskRunner(InlineTaskRunner):
        def submit(self, call, report):
            raise OSError("full")

    @flow(task_runner=FullTaskRunner())
    def body():
        return task(len).submit("abc")

    run = body.run()

    assert run.counts == {StateType.CRASHED: 1}
    assert run.state == Failed("1/1 states failed.")


def test_reporting_a_crash_is_reporting_an_outcome():
    report, cause = Recorder(), OSError("gone")

    report.crashed(cause, "worker 3 died")

    assert report.outcomes == [Outcome(problem=Crash("worker 3 died", cause))]


# relay


@pytest.fixture
def report():
    return Recorder()


def test_relay_posts_the_outcome_of_a_future(report):
    future = Future()
    relay(future, report)

    future.set_result(Outcome(5))

    assert report.outcomes == [Outcome(5)]
    assert report.threads == [threading.current_thread()]


def test_relay_posts_the_outcome_of_a_future_that_is_done(report):
    future = Future()
    future.set_result(Outcome(5))

    relay(future, report)

    assert report.outcomes == [Outcome(5)]


def test_relay_posts_an_exception_as_a_crash(report):
    future, error = Future(), OSError("gone")
    relay(future, report)

    future.set_exception(error)

    assert report.outcomes == [
        Outcome(problem=Crash("the task runner lost the call: OSError('gone')", error))
    ]


def test_relay_posts_a_cancelled_future_as_a_crash(report):
    future = Future()
    relay(future, report)

    future.cancel()

    assert report.outcomes == [Outcome(problem=Crash("the task runner cancelled the call"))]


class PoolTaskRunner(TaskRunner):
    """On processes, in as few lines as the manual promises."""

    def start(self):
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def submit(self, call, report):
        relay(self._pool.submit(call, *call.upstream), report)

    def stop(self):
        self._pool.shutdown()


def test_relay_posts_a_broken_pool_as_a_crash(report):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        relay(pool.submit(os._exit, 1), report)
        report.posted.wait()

    (outcome,) = report.outcomes
    assert isinstance(outcome.problem.cause, BrokenProcessPool)
    assert outcome.problem.message.startswith("the task runner lost the call: BrokenProcessPool(")


def test_relay_makes_a_task_runner_of_a_process_pool():
    @flow(task_runner=PoolTaskRunner())
    def body(array):
        ordered = task(np.sort).submit(array)
        return ordered, task(os.getpid).submit(), task(np.cumsum).submit(ordered)

    ordered, process, sums = body(np.array([3, 1, 2]))

    assert ordered.tolist() == [1, 2, 3]
    assert sums.tolist() == [1, 3, 6]
    assert process != os.getpid()


def test_the_manuals_task_runner_works_when_pasted():
    manual = contracts.__doc__.partition("::\n\n")[2].partition("\n\nIt is published")[0]
    pasted = {"__name__": "pasted"}
    exec(textwrap.dedent(manual), pasted)
    runner = pasted["PoolTaskRunner"](max_workers=2)

    @flow(task_runner=runner)
    def body():
        return [task(abs).submit(number) for number in (-1, -2, -3)]

    check_task_runner_class(type(runner))
    assert body() == [1, 2, 3]


# References


def test_a_reference_releases_its_value_once_when_the_last_use_is_gone():
    released = []
    reference = Reference("h", released.append)
    uses = [reference, reference]

    del reference
    uses.pop()
    before = list(released)
    uses.pop()
    gc.collect()

    assert before == []
    assert released == ["h"]


@pytest.mark.parametrize("duplicate", [copy.copy, pickle.dumps])
def test_a_reference_refuses_to_be_copied_and_so_to_release_its_value_twice(duplicate):
    released = []
    reference = Reference("h", released.append)

    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        duplicate(reference)

    assert released == []


def test_a_reference_may_have_nothing_to_release():
    reference = Reference("h")

    del reference  # a warning of an ignored exception would be an error


def test_a_reference_tells_what_is_known_of_its_value():
    reference = Reference("h", nbytes=10, where="host:1/worker")

    assert (reference.handle, reference.nbytes, reference.where) == ("h", 10, "host:1/worker")
    assert repr(reference) == "<Reference 'h'>"
