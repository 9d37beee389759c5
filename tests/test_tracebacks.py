"""Tracebacks: the user's frames, and none of the library's."""

import asyncio
import subprocess
import sys
import traceback

import pytest

from runnerstone import flow, task
from runnerstone._tracebacks import hide_frames, with_origins
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner


@pytest.fixture(params=[SequentialTaskRunner(), ConcurrentTaskRunner()], ids=repr)
def runner(request):
    return request.param


@task
def divide(number):
    return halve(number)


def halve(number):
    return number / 0


@task
async def divide_async(number):
    await asyncio.sleep(0)
    return halve(number)


def names_of(error):
    """The names of the functions in a traceback."""
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def raised_by(call):
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("failing", [divide, divide_async])
def test_a_flow_that_fails_shows_its_caller_and_the_tasks_frames(runner, failing):
    body = flow(task_runner=runner)(lambda: failing(1))

    error = raised_by(body)

    assert names_of(error) == ["raised_by", failing.name, "halve"]


def test_a_result_shows_who_asked_for_it_and_the_tasks_frames(runner):
    @flow(task_runner=runner)
    def asking():
        return divide.submit(1).result()

    error = raised_by(asking)

    assert names_of(error) == ["raised_by", "asking", "divide", "halve"]


def test_what_is_awaited_shows_who_awaited_it_and_the_tasks_frames(runner):
    @flow(task_runner=runner)
    async def asking():
        return await divide_async.submit(1)

    async def main():
        return await asking()

    names = names_of(raised_by(lambda: asyncio.run(main())))

    assert names[-4:] == ["main", "asking", "divide_async", "halve"]


def test_a_body_that_raises_shows_its_own_frames(runner):
    @flow(task_runner=runner)
    def inner():
        halve(1)

    @flow(task_runner=runner)
    def outer():
        inner()

    assert names_of(raised_by(outer)) == ["raised_by", "outer", "inner", "halve"]


def test_asking_again_does_not_lengthen_a_traceback(runner):
    @flow(task_runner=runner)
    def asking():
        future = divide.submit(1)
        return [names_of(raised_by(future.result)) for _ in range(3)]

    assert asking() == [["raised_by", "divide", "halve"]] * 3


def test_origins_show_no_frames_of_the_library_either(runner):
    @flow(task_runner=runner)
    def asking():
        try:
            divide.submit(1).result()
        except ZeroDivisionError as error:
            raise KeyError("first") from error

    error = raised_by(asking)

    assert names_of(error) == ["raised_by", "asking"]
    assert names_of(error.__cause__) == ["asking", "divide", "halve"]


@pytest.mark.parametrize("failing", [divide, divide_async])
def test_an_exception_of_another_process_has_its_traceback_there_without_the_library(failing):
    body = flow(task_runner=SequentialTaskRunner(strict=True))(lambda: failing(1))

    error = raised_by(body)

    told = [line for line in str(error.__cause__).splitlines() if line.startswith("  File ")]
    assert [line.rpartition(", in ")[2] for line in told] == [failing.name, "halve"]
    assert all(__file__ in line for line in told)


def test_the_log_shows_no_frames_of_the_library(runner, caplog):
    flow(task_runner=runner)(lambda: divide(1)).run()

    [shown] = [it.exc_info[1] for it in caplog.records if it.exc_info]
    assert names_of(shown) == ["divide", "halve"]


@pytest.mark.parametrize(("setting", "is_full"), [("full", True), ("", False), ("short", False)])
def test_the_environment_can_ask_for_all_frames(runner, monkeypatch, setting, is_full):
    monkeypatch.setenv("RUNNERSTONE_TRACEBACK", setting)

    frames = traceback.extract_tb(
        raised_by(flow(task_runner=runner)(lambda: divide(1))).__traceback__
    )

    assert (
        any("_engine" in it.filename or it.filename.endswith("calls.py") for it in frames)
        == is_full
    )
    assert [it.name for it in frames if it.filename == __file__] == ["raised_by", "divide", "halve"]


def test_a_script_that_fails_prints_its_own_frames(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from runnerstone import flow, task\n"
        "@task\n"
        "def inverse(number):\n"
        "    return 1 / number\n"
        "@flow\n"
        "def inverses():\n"
        "    return inverse(0)\n"
        "inverses()\n"
    )

    finished = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    printed = finished.stderr[finished.stderr.rindex("Traceback (most recent call last)") :]
    files = [line for line in printed.splitlines() if line.startswith("  File ")]
    assert files == [
        f'  File "{script}", line 8, in <module>',
        f'  File "{script}", line 4, in inverse',
    ]
    assert "ZeroDivisionError: division by zero\nTask run 'inverse-" in printed


# The functions themselves


def test_origins_are_all_that_an_exception_comes_from_and_groups_each_once():
    cause, context, part = ValueError("cause"), KeyError("context"), OSError("part")
    group = ExceptionGroup("group", [part, cause])
    group.__cause__, group.__context__ = cause, context

    found = list(with_origins(group))

    assert len(found) == 4
    assert {id(it) for it in found} == {id(it) for it in (group, cause, context, part)}


def test_exceptions_that_come_from_each_other_are_visited_once():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__context__ = other, one

    assert list(with_origins(one)) == [one, other]


def test_an_exception_without_a_traceback_stays_without():
    error = ValueError("never raised")

    hide_frames(error)

    assert error.__traceback__ is None


def test_a_traceback_of_the_users_alone_stays_the_same_object():
    error = raised_by(lambda: halve(1))
    before = error.__traceback__

    hide_frames(error)

    assert error.__traceback__ is before


def test_an_instruction_that_belongs_to_no_line_may_have_raised(runner):
    def asking():
        divide(1, 2)

    code = asking.__code__
    nowhere = 0x80 | 15 << 3  # for one code unit, which has two bytes
    table = bytes([nowhere]) * (len(code.co_code) // 2)
    asking.__code__ = code.replace(co_linetable=table)  # as where a signal strikes

    error = raised_by(flow(task_runner=runner)(asking))

    assert "too many positional arguments" in str(error)
    assert names_of(error) == ["raised_by", "asking"]
    assert error.__traceback__.tb_next.tb_lineno is None
