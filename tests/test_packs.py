import pickle
import threading
import time
from typing import Any

import pytest

from runnerstone import task
from runnerstone._pickles import Pickled
from runnerstone.calls import FlowRunInfo, Labels, TaskCall
from runnerstone.outcomes import Crash, Failure
from runnerstone.packs import LONG_SECONDS, Pack, Progress, run_parcel
from runnerstone.programs import Program

PATIENCE = 30
FLOW_RUN = FlowRunInfo("0123456789abcdef", "calm-heron", "counting")


@task
def echo(value: Any) -> Any:
    return value


@task
def wait_for(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


held = threading.Event()


@task
def hold(number: int) -> int:
    if number == 1:
        assert held.wait(PATIENCE)
    return number


def calls_of(it, values):
    program = Program.of(it)
    return [
        TaskCall(
            program,
            FLOW_RUN,
            number,
            1,
            Pickled(pickle.dumps(((value,), {}), protocol=5)),
            (),
            None,
            True,
        )
        for number, value in enumerate(values)
    ]


def values_of(outcome):
    before = Progress.read(outcome.progress).outcomes
    return [it.value.load() for it in (*before, outcome)]


def test_pack_executes_its_calls_one_after_another():
    pack = Pack(calls_of(echo, "abc"))

    outcome = pack(*pack.upstream)

    assert values_of(outcome) == ["a", "b", "c"]
    assert Progress.read(outcome.progress).begun == 3


def test_pack_travels_as_a_call_does():
    pack = Pack(calls_of(echo, "abc"))

    copy = pickle.loads(pickle.dumps(pack))

    assert values_of(copy()) == ["a", "b", "c"]
    assert (copy.id, copy.name) == (pack.id, pack.name)


def test_pack_travels_as_a_parcel():
    pack = Pack(calls_of(echo, "abc"))

    parcel = pack.parcel()
    outcome = run_parcel(pack.program, parcel.contents)

    assert values_of(outcome) == ["a", "b", "c"]
    assert (parcel.kept, parcel.slots) == ((), ())


def test_pack_is_called_by_its_first_call_and_how_many_follow():
    first, *rest = calls = calls_of(echo, "abc")

    pack = Pack(calls)

    assert pack.id == f"{first.id}+{len(rest)}"
    assert pack.name == f"{first.name} and 2 more"


def test_calls_keep_their_labels_and_upstream():
    program = Program.of(echo)
    calls = [
        TaskCall(program, FLOW_RUN, number, 1, call._arguments, (), None, True, Labels(f"run {it}"))
        for number, (it, call) in enumerate(zip("ab", calls_of(echo, "ab"), strict=True))
    ]

    copy = pickle.loads(pickle.dumps(Pack(calls)))

    assert [call.name for call in copy.calls] == ["run a", "run b"]


def test_failure_is_one_calls_alone():
    @task
    def divide(number: int) -> float:
        return 1 / number

    outcome = Pack(calls_of(divide, [1, 0, 2]))()

    first, second = Progress.read(outcome.progress).outcomes
    assert first.value.load() == 1
    assert isinstance(second.problem, Failure)
    assert outcome.value.load() == 0.5


def test_pack_that_takes_long_leaves_the_rest():
    outcome = Pack(calls_of(wait_for, [0, LONG_SECONDS, 0, 0]))()

    progress = Progress.read(outcome.progress)
    assert progress.begun == 2
    assert outcome.value.load() == LONG_SECONDS


def test_large_value_is_the_last():
    outcome = Pack(calls_of(echo, [b"small", bytes(100_000), b"left"]))()

    assert Progress.read(outcome.progress).begun == 2
    assert outcome.value.load() == bytes(100_000)


def test_pack_tells_what_has_ended_while_a_call_takes_long():
    held.clear()
    told = []
    pack = Pack(calls_of(hold, range(4)))

    def tell(progress: bytes) -> None:
        told.append(Progress.read(progress))
        held.set()

    outcome = run_parcel(pack.program, pack.parcel().contents, tell=tell)

    (early,) = told
    assert [it.value.load() for it in early.outcomes] == [0]
    assert (early.first, early.begun) == (0, 2)
    late = Progress.read(outcome.progress)
    assert (late.first, late.outcomes, late.begun) == (1, [], 2)
    assert outcome.value.load() == 1


def test_what_could_not_be_told_early_is_told_at_the_end(caplog):
    held.clear()
    pack = Pack(calls_of(hold, range(3)))

    def tell(_progress: bytes) -> None:
        held.set()
        raise ConnectionError("nobody listens")

    outcome = run_parcel(pack.program, pack.parcel().contents, tell=tell)

    progress = Progress.read(outcome.progress)
    assert [it.value.load() for it in progress.outcomes] == [0]
    assert outcome.value.load() == 1
    assert "nobody listens" in caplog.text


def test_short_pack_leaves_no_thread():
    before = threading.active_count()
    pack = Pack(calls_of(echo, range(3)))

    for _ in range(20):
        run_parcel(pack.program, pack.parcel().contents, tell=pytest.fail)

    deadline = time.monotonic() + PATIENCE
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_parcel_of_another_version_is_a_crash():
    outcome = run_parcel(Program.of(echo), Pickled(b"from another version"))

    assert isinstance(outcome.problem, Crash)
    assert outcome.problem.is_permanent
    assert outcome.progress is None
