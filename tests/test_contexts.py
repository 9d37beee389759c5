"""What code can ask about its run: the context, the logger, the tags."""

import asyncio
import inspect
import logging
import threading
from contextvars import copy_context

import attrs
import pytest

from runnerstone import flow, get_run_context, get_run_logger, tags, task
from runnerstone.contexts import FlowRunContext, TaskRunContext
from runnerstone.errors import NotInRunError
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner


class NotingTaskRunner(SequentialTaskRunner):
    """Notes what calls sent to it log, and tells them apart from what the driver logs."""

    sent: list

    def submit(self, call, report):
        super().submit(call, NotingReport(report, self.sent))


class NotingReport:
    def __init__(self, report, sent):
        self._report, self._sent = report, sent

    def __getattr__(self, name):
        return getattr(self._report, name)

    def done(self, outcome):
        self._sent += [it["msg"] for it in outcome.records]
        self._report.done(outcome)


@pytest.fixture
def log(caplog):
    """The library's records from DEBUG on."""
    caplog.set_level(logging.DEBUG, logger="runnerstone")
    return caplog


def value_of(body, runner="sequential", **options):
    return flow(task_runner=runner, **options)(body)()


@task(task_run_name="teller")
def tell_context():
    return get_run_context()


@task
def tell_tags():
    return get_run_context().tags


# The context


def test_outside_of_all_runs_there_is_no_context():
    with pytest.raises(NotInRunError, match="there is no run here"):
        get_run_context()


def test_a_task_knows_its_run(runner):
    @flow(task_runner=runner, flow_run_name="today")
    def census():
        return tell_context(), get_run_context().flow_run.id

    found, id_ = census()

    assert found == TaskRunContext(
        task_run_name="teller",
        task_name="tell_context",
        number=0,
        attempt=1,
        tags=frozenset(),
        flow_run_id=id_,
        flow_run_name="today",
        flow_name="census",
    )


def test_a_body_knows_its_flow_run_and_the_started_task_runner():
    described = ConcurrentTaskRunner(max_workers=3)

    @flow(task_runner=described, tags=["nightly"])
    def census():
        context = get_run_context()
        assert context.task_runner.slots() == 3
        return context, context.flow_run.state.name

    run = census.run()
    context, state = run.result()

    assert isinstance(context, FlowRunContext)
    assert context.flow_run is run
    assert context.task_runner == described
    assert context.task_runner is not described
    assert (context.tags, context.attempt, state) == ({"nightly"}, 1, "Running")


def test_a_context_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value_of(tell_context.submit).attempt = 5


def test_a_body_knows_its_own_run_again_after_a_subflow():
    def names():
        return get_run_context().flow_run.name

    inner = flow(flow_run_name="inner", task_runner="sequential")(names)

    def outer():
        return names(), inner(), names()

    assert value_of(outer, flow_run_name="outer") == ("outer", "inner", "outer")


def test_a_task_in_a_task_has_the_context_of_the_outer_one(runner):
    outer = task(task_run_name="outer")(lambda: tell_context().task_run_name)

    assert value_of(outer.submit, runner) == "outer"


@pytest.mark.parametrize("is_copied", [True, False])
def test_a_thread_is_in_a_run_if_it_has_a_copy_of_its_context(runner, is_copied):
    @task(task_run_name="starter")
    def start():
        found = []

        def look():
            try:
                found.append(get_run_context().task_run_name)
            except NotInRunError:
                found.append(None)

        run = copy_context().run if is_copied else lambda fn: fn()
        thread = threading.Thread(target=run, args=(look,))
        thread.start()
        thread.join()
        return found

    assert value_of(start.submit, runner) == ["starter" if is_copied else None]


def test_attempts_count(runner):
    @task(retries=2)
    def attempt():
        number = get_run_context().attempt
        if number < 3:
            raise ValueError
        return number

    @flow(task_runner=runner, retries=1)
    def body():
        number = get_run_context().attempt
        if number < 2:
            raise ValueError
        return number, attempt()

    assert body() == (2, 3)


# Tags


def test_tags_hold_inside_and_no_longer():
    def body():
        outside = tell_tags.submit()
        with tags("a") as first:
            inside = tell_tags.submit()
            with tags("b", "a") as second:
                deeper = tell_tags.submit()
            again = tell_tags.submit()
        after = tell_tags.submit()
        assert (first, second) == ({"a"}, {"a", "b"})
        return [outside, inside, deeper, again, after]

    assert value_of(body) == [set(), {"a"}, {"a", "b"}, {"a"}, set()]


def test_tags_hold_no_longer_after_an_exception():
    def body():
        with pytest.raises(ValueError, match="inside"), tags("a"):
            raise ValueError("inside")
        return tell_tags()

    assert value_of(body) == set()


def test_tags_are_those_of_all_around(runner):
    tagged = tell_tags.with_options(tags=["task"])

    @flow(task_runner=runner, tags=["inner"])
    def inner():
        with tags("within"):
            return tagged()

    @flow(task_runner=runner, tags=["outer"])
    def outer():
        with tags("between"):
            return inner(), tell_tags()

    with tags("around"):
        run = outer.run()

    between = {"around", "outer", "between"}
    assert run.result() == (between | {"inner", "within", "task"}, between)
    assert run.tags == {"around", "outer"}
    assert run.subflow_runs[0].tags == between | {"inner"}
    assert value_of(tell_tags.submit) == set()


def test_the_context_of_a_body_tells_the_tags_that_hold_there():
    def body():
        with tags("a"):
            inside = get_run_context().tags
        return inside, get_run_context().tags

    assert value_of(body, tags=["flow"]) == ({"flow", "a"}, {"flow"})


def test_tags_are_those_at_the_submission_whatever_holds_when_the_task_runs():
    def body():
        gate = threading.Event()
        holding = task(lambda: gate.wait(20)).submit()
        with tags("a"):
            future = tell_tags.submit(wait_for=[holding])
        gate.set()
        return future

    assert value_of(body, "concurrent") == {"a"}


def test_tags_reach_threads_with_a_copy_of_the_context_and_come_back_from_none():
    found = []

    def submit(label):
        with tags(label):
            found.append(tell_tags.submit().result())

    def body():
        with tags("around"):
            threads = [
                threading.Thread(target=copy_context().run, args=(submit, label))
                for label in ("one", "other")
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return tell_tags()

    assert value_of(body, "concurrent") == {"around"}
    assert sorted(map(sorted, found)) == [["around", "one"], ["around", "other"]]


def test_tags_of_concurrent_coroutines_are_each_their_own():
    @flow(task_runner="concurrent")
    async def body():
        async def submit(label):
            with tags(label):
                await asyncio.sleep(0)
                return await tell_tags.submit()

        return await asyncio.gather(submit("one"), submit("other"))

    assert asyncio.run(body()) == [{"one"}, {"other"}]


@pytest.mark.parametrize("labels", [("a", 5), (["a"],), (None,)])
def test_tags_are_strings(labels):
    with pytest.raises(TypeError, match="tags are strings, which"), tags(*labels):
        raise AssertionError


def test_tags_around_are_no_part_of_the_key():
    def body():
        with tags("a"):
            return tell_tags.submit().name

    assert value_of(body) == f"tell_tags-{tell_tags.key}-0"


# The logger


def test_outside_of_all_runs_the_logger_is_a_plain_one(log):
    get_run_logger().warning("100%% of %s", "it")

    [record] = log.records
    assert (record.name, record.getMessage()) == ("runnerstone", "100% of it")
    assert record.funcName == "test_outside_of_all_runs_the_logger_is_a_plain_one"
    assert not hasattr(record, "flow_run_name")


def own(log):
    """What runs logged by themselves."""
    return [it for it in log.records if " - " in it.getMessage()]


def test_records_have_the_names_of_the_run_and_of_what_it_belongs_to(runner, log):
    @task(task_run_name="the task's")
    def speak():
        get_run_logger().info("from the task")

    @flow(task_runner=runner, flow_run_name="the flow's")
    def census():
        get_run_logger().info("from the body")
        speak()

    census()

    body, task_ = own(log)
    assert (body.name, task_.name) == ("runnerstone.flow_runs", "runnerstone.task_runs")
    assert body.getMessage() == 'Flow run "the flow\'s" - from the body'
    assert task_.getMessage() == 'Task run "the task\'s" - from the task'
    for record in (body, task_):
        assert (record.flow_run_name, record.flow_name) == ("the flow's", "census")
    assert (task_.task_run_name, task_.task_name) == ("the task's", "speak")
    assert not hasattr(body, "task_run_name")


@task(task_run_name="100% %s")
def log_in_all_ways():
    logger = get_run_logger()
    first = inspect.currentframe().f_lineno + 1
    logger.debug("debug")
    logger.info("info %s", "100% %d")
    logger.warning("100%")
    logger.error("%(a)s and %%", {"a": "%s"})
    logger.critical({"not": "a string"})
    logger.log(logging.INFO, "%d%%", 5)
    logger.exception("no exception", exc_info=False)  # noqa: LOG004, LOG007  # one way of many
    return first


def test_each_way_of_logging_tells_the_users_line_and_keeps_percent_signs(runner, log):
    first = value_of(log_in_all_ways.submit, runner)

    found = own(log)
    assert [it.getMessage().removeprefix("Task run '100% %s' - ") for it in found] == [
        "debug",
        "info 100% %d",
        "100%",
        "%s and %",
        "{'not': 'a string'}",
        "5%",
        "no exception",
    ]
    assert [it.lineno for it in found] == list(range(first, first + 7))
    assert {(it.funcName, it.filename) for it in found} == {("log_in_all_ways", "test_contexts.py")}
    assert [it.levelname for it in found] == [
        "DEBUG",
        "INFO",
        "WARNING",
        "ERROR",
        "CRITICAL",
        "INFO",
        "ERROR",
    ]


def test_who_logs_for_others_can_name_their_lines(runner, log):
    def log_for_caller():
        get_run_logger().info("for my caller", stacklevel=2)

    @task
    def caller():
        log_for_caller()

    value_of(caller.submit, runner)

    assert [it.funcName for it in own(log)] == ["caller"]


def test_attributes_of_ones_own_are_added_and_go_before_the_runs(runner, log):
    @task(task_run_name="usual")
    def speak():
        get_run_logger().info("x", extra={"row": 5, "task_name": "mine"})

    value_of(speak.submit, runner)

    [record] = own(log)
    assert (record.row, record.task_name, record.task_run_name) == (5, "mine", "usual")


def test_an_exception_is_logged_with_its_traceback(runner, log):
    @task
    def speak():
        try:
            raise KeyError("lost")
        except KeyError:
            get_run_logger().exception("it failed:")

    value_of(speak.submit, runner)

    assert "in speak" in log.text
    assert "KeyError: 'lost'" in log.text


def test_what_is_below_the_drivers_level_is_not_even_formatted(runner, caplog):
    caplog.set_level(logging.WARNING, logger="runnerstone")

    class Costly:
        def __str__(self):
            raise AssertionError

    @task
    def speak():
        logger = get_run_logger()
        logger.info("%s", Costly())
        logger.warning("shown")
        return logger.isEnabledFor(logging.INFO), logger.isEnabledFor(logging.WARNING)

    assert value_of(speak.submit, runner) == (False, True)
    assert [it.getMessage().partition(" - ")[2] for it in own(caplog)] == ["shown"]


@pytest.mark.parametrize(
    ("level", "sent"),
    [
        (logging.DEBUG, ["debug", "info", "error"]),
        (logging.INFO, ["info", "error"]),
        (logging.ERROR, ["error"]),
        (logging.CRITICAL, []),
    ],
)
def test_nothing_below_the_drivers_level_is_sent(caplog, level, sent):
    caplog.set_level(level, logger="runnerstone")
    runner = NotingTaskRunner(strict=True, sent=[])

    @task(task_run_name="x")
    def speak():
        logger = get_run_logger()
        logger.debug("debug")
        logger.info("info")
        logger.error("error")

    value_of(speak.submit, runner)

    assert runner.sent == [f"Task run 'x' - {it}" for it in sent]
    assert [it.getMessage() for it in own(caplog)] == runner.sent


def test_a_call_that_shares_memory_sends_nothing(log):
    runner = NotingTaskRunner(sent=[])

    value_of(task(lambda: get_run_logger().info("once")).submit, runner)

    assert runner.sent == []
    assert len(own(log)) == 1


def test_a_level_of_the_task_runs_alone_is_respected(caplog, runner):
    caplog.set_level(logging.ERROR, logger="runnerstone.task_runs")
    caplog.set_level(logging.INFO, logger="runnerstone")
    speak = task(lambda: get_run_logger().info("unheard"))

    def body():
        get_run_logger().info("heard")
        speak()

    value_of(body, runner)

    assert [it.getMessage().partition(" - ")[2] for it in own(caplog)] == ["heard"]


def test_each_attempts_records_are_handed_over(runner, log):
    @task(retries=1)
    def speak():
        attempt = get_run_context().attempt
        get_run_logger().info("attempt %d", attempt)
        if attempt == 1:
            raise ValueError

    value_of(speak.submit, runner)

    assert [it.getMessage().partition(" - ")[2] for it in own(log)] == ["attempt 1", "attempt 2"]
