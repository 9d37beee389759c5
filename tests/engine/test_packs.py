"""Small calls that travel together, on a task runner that pickles everything it is given."""

import gc
import logging
import pickle
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest

from runnerstone import as_completed, flow, get_run_context, get_run_logger, packs, task, unmapped
from runnerstone._engine import units
from runnerstone.task_runners import (
    Capabilities,
    Outcome,
    Pack,
    Pickled,
    Reference,
    Report,
    TaskCall,
    TaskRunner,
    relay,
    run_parcel,
)

PATIENCE = 30


class PostTaskRunner(TaskRunner):
    """Executes calls on threads, which share nothing with the flow that is not pickled."""

    max_workers: int = 2
    told_slots: int | None = 2
    sent: list[TaskCall] = attrs.field(factory=list)

    capabilities = Capabilities(gains_from_packing=True, cancels_queued=True)

    def start(self) -> None:
        self._pool = ThreadPoolExecutor(self.max_workers)

    def submit(self, call: TaskCall, report: Report) -> None:
        self.sent.append(call)
        copy = pickle.loads(pickle.dumps(call))
        relay(self._pool.submit(copy, *call.upstream), report)

    def slots(self) -> int | None:
        return self.told_slots

    def stop(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def packs(self) -> list[Pack]:
        return [call for call in self.sent if isinstance(call, Pack)]


class TellingTaskRunner(PostTaskRunner):
    """The same; what becomes of a pack is told before its end."""

    def submit(self, call: TaskCall, report: Report) -> None:
        self.sent.append(call)
        parcel = pickle.loads(pickle.dumps(call.parcel()))
        program = pickle.loads(pickle.dumps(call.program))
        relay(
            self._pool.submit(run_parcel, program, parcel.contents, tell=report.progressed), report
        )


class LossyTaskRunner(PostTaskRunner):
    """Loses every pack, as if its worker had died."""

    def submit(self, call: TaskCall, report: Report) -> None:
        if isinstance(call, Pack):
            self.sent.append(call)
            report.crashed(None, "the worker died")
        else:
            super().submit(call, report)


@pytest.fixture
def runner() -> PostTaskRunner:
    return PostTaskRunner()


@task
def echo(value: Any) -> Any:
    return value


@task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def run(runner: TaskRunner, body):
    return flow(task_runner=runner)(body)()


def recorded(runner: TaskRunner, body):
    """The record of a flow run, and the futures that its body gives."""
    futures = []

    @flow(task_runner=runner)
    def recording() -> None:
        futures.extend(body())

    return recording.run(), futures


# What is packed


def test_small_calls_travel_together(runner):
    values = run(runner, lambda: echo.map(range(500)).result())

    assert values == [*range(500)]
    assert runner.packs
    assert len(runner.sent) < 250


def test_each_call_is_executed_once(runner, tmp_path):
    @task
    def mark(number: int) -> None:
        with (tmp_path / str(number)).open("x"):
            pass

    run(runner, lambda: mark.map(range(300)).result())

    assert runner.packs
    assert len([*tmp_path.iterdir()]) == 300


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 1},
        {"crash_retries": 0},
        {"timeout_seconds": 60},
        pytest.param(
            {"resources": {"gpu": 1}}, marks=pytest.mark.filterwarnings("ignore::UserWarning")
        ),
    ],
)
def test_some_calls_always_go_alone(runner, options):
    run(runner, lambda: echo.with_options(**options).map(range(100)).result())

    assert len(runner.sent) == 100


def test_coroutine_functions_go_alone(runner):
    @task
    async def echo_later(value: int) -> int:
        return value

    values = run(runner, lambda: echo_later.map(range(50)).result())

    assert values == [*range(50)]
    assert len(runner.sent) == 50


def test_packs_are_no_larger_than_the_task_says(runner):
    run(runner, lambda: echo.with_options(batch=3).map(range(100)).result())

    assert {len(pack.calls) for pack in runner.packs} <= {2, 3}
    assert runner.packs


def test_task_runner_that_gains_nothing_is_given_no_packs():
    class PlainTaskRunner(PostTaskRunner):
        capabilities = Capabilities()

    runner = PlainTaskRunner()

    run(runner, lambda: echo.map(range(100)).result())

    assert len(runner.sent) == 100


def test_packs_are_for_one_task_each(runner):
    other = echo.with_options(name="other")

    def body():
        return [one.submit(number) for number in range(300) for one in (echo, other)]

    run(runner, body)

    assert runner.packs
    for pack in runner.packs:
        assert len({call.program.task_name for call in pack.calls}) == 1


def test_calls_that_take_long_go_alone(runner):
    run(runner, lambda: nap.map([0.02] * 30).result())

    assert len(runner.sent) == 30


def test_packs_last_some_tens_of_milliseconds(runner):
    run(runner, lambda: nap.map([0.002] * 400).result())

    assert max(len(pack.calls) for pack in runner.packs) <= 15


def test_large_arguments_make_small_packs(runner):
    run(runner, lambda: echo.map([bytes(10_000) for _ in range(100)]).result())

    assert max(len(pack.calls) for pack in runner.packs) <= 6


def test_large_values_make_small_packs(runner):
    @task
    def make(size: int) -> bytes:
        return bytes(size)

    values = run(runner, lambda: make.map([20_000] * 200).result())

    assert values == [bytes(20_000)] * 200
    assert max(len(pack.calls) for pack in runner.packs[len(runner.packs) // 2 :]) <= 5


def test_values_that_stay_with_workers_keep_calls_alone():
    held: dict[str, Pickled] = {}

    class KeepingTaskRunner(PostTaskRunner):
        """Keeps every value."""

        def submit(self, call: TaskCall, report: Report) -> None:
            self.sent.append(call)
            upstream = [
                held[it.handle] if isinstance(it, Reference) else it for it in call.upstream
            ]

            def keep(outcome: Outcome) -> Outcome:
                held[call.id] = outcome.value
                return attrs.evolve(outcome, value=Reference(call.id))

            relay(self._pool.submit(lambda: keep(call(*upstream))), report)

        def fetch(self, references):
            return [held[it.handle] for it in references]

    runner = KeepingTaskRunner()
    following = echo.with_options(name="following")

    def body():
        alone = echo.with_options(batch=1)
        return following.map([alone.submit(number) for number in range(50)]).result()

    assert run(runner, body) == [*range(50)]
    assert not [pack for pack in runner.packs if pack.program.task_name == "following"]


# When it is sent


gate = threading.Event()
begun = threading.Semaphore(0)


@task
def stand(_number: int) -> None:
    begun.release()
    assert gate.wait(PATIENCE)


@task
def stand_at(number: int, place: int) -> int:
    """Stand at one place, once."""
    if number == place and get_run_context().attempt == 1:
        begun.release()
        assert gate.wait(PATIENCE)
    return number


@pytest.fixture
def closed_gate():
    gate.clear()
    while begun.acquire(blocking=False):
        pass
    yield gate
    gate.set()


def test_calls_are_sent_at_once_while_a_slot_is_free(closed_gate):
    runner = PostTaskRunner(max_workers=4, told_slots=4)

    def body() -> None:
        futures = [stand.submit(number) for number in range(4)]
        sent = len(runner.sent)
        closed_gate.set()
        assert sent == 4
        assert not [it for it in futures if it.exception()]

    run(runner, body)


def test_small_calls_are_sent_at_once_while_a_slot_is_free(closed_gate):
    runner = PostTaskRunner(max_workers=4, told_slots=4)

    def body() -> None:
        echo.map(range(200)).result()
        before = len(runner.sent)
        echo.submit(1)
        assert len(runner.sent) == before + 1

    run(runner, body)


def test_cluster_that_grows_with_its_load_sees_it(closed_gate):
    runner = PostTaskRunner(max_workers=40, told_slots=None)

    def body() -> None:
        futures = stand.map(range(40))
        for _ in range(40):
            assert begun.acquire(timeout=PATIENCE)
        closed_gate.set()
        futures.result()

    run(runner, body)

    assert len(runner.sent) == 40


def test_cluster_that_grows_while_no_call_ends_is_sent_more(closed_gate):
    slots = [2]

    class GrowingTaskRunner(TellingTaskRunner):
        def slots(self) -> int:
            return slots[-1]

    def body() -> None:
        closed_gate.set()
        stand.map(range(300)).result()  # they are known to be small
        closed_gate.clear()
        while begun.acquire(blocking=False):
            pass
        futures = stand.map(range(40))
        for _ in range(4):
            assert begun.acquire(timeout=PATIENCE)
        slots.append(10)
        for _ in range(6):
            assert begun.acquire(timeout=PATIENCE)
        closed_gate.set()
        futures.result()

    run(GrowingTaskRunner(max_workers=10), body)


def test_call_that_takes_long_holds_up_none_that_could_run_elsewhere(closed_gate):
    runner = TellingTaskRunner()

    def body() -> None:
        futures = stand_at.map(range(500), unmapped(250))
        slow = futures[250]
        for future in as_completed([it for it in futures if it is not slow], timeout=PATIENCE):
            assert future.state.is_completed()
        assert slow.state.name == "Running"
        assert slow.task_run.where
        closed_gate.set()

    run(runner, body)

    assert runner.packs


def test_what_was_not_executed_in_time_is_sent_again(runner):
    def body() -> list[float]:
        return nap.map([0.0] * 300 + [0.12] * 6 + [0.0] * 100).result()

    assert run(runner, body) == [0.0] * 300 + [0.12] * 6 + [0.0] * 100
    assert len({call.id for call in runner.sent}) == len(runner.sent)


# Each call's own


def test_each_call_keeps_its_own_end(runner):
    @task
    def check(number: int) -> int:
        if number % 7 == 3:
            raise ValueError(f"{number} is bad")
        return number

    run, futures = recorded(runner, lambda: check.map(range(300)))

    assert run.state.is_failed()
    assert runner.packs
    for number, future in enumerate(futures):
        assert future.state.is_failed() == (number % 7 == 3)
        if future.state.is_failed():
            with pytest.raises(ValueError, match=f"{number} is bad"):
                future.result()
        else:
            assert future.result() == number


def test_each_call_knows_its_own_run(runner):
    @task
    def tell() -> tuple[str, int]:
        context = get_run_context()
        return context.task_run_name, context.number

    _, futures = recorded(runner, lambda: [tell.submit() for _ in range(200)])

    assert runner.packs
    assert [future.result() for future in futures] == [
        (future.name, number) for number, future in enumerate(futures)
    ]


def test_each_call_is_retried_by_itself(runner):
    @task(retries=1)
    def fail_first(number: int) -> int:
        if number % 5 == 0 and get_run_context().attempt == 1:
            raise ValueError("not yet")
        return number

    _, futures = recorded(runner, lambda: fail_first.map(range(200)))

    assert [future.result() for future in futures] == [*range(200)]
    assert [future.task_run.attempts for future in futures] == [
        1 + (number % 5 == 0) for number in range(200)
    ]


def test_each_call_has_its_own_log(runner, caplog):
    caplog.set_level(logging.INFO, "runnerstone")

    @task
    def speak(number: int) -> None:
        get_run_logger().info("here is %d", number)

    _, futures = recorded(runner, lambda: speak.map(range(200)))

    assert runner.packs
    spoken = [record for record in caplog.records if "here is" in record.getMessage()]
    said = {record.task_run_name: record.getMessage() for record in spoken}
    assert len(spoken) == 200
    assert all(said[it.name].endswith(f" {number}") for number, it in enumerate(futures))


def test_each_call_has_its_own_times(runner):
    _, futures = recorded(runner, lambda: nap.map([0.001] * 100))

    runs = [future.task_run for future in futures]
    assert runner.packs
    assert all(run.submitted <= run.started <= run.ended for run in runs)
    assert len({run.started for run in runs}) == 100
    assert all(run.where for run in runs)


def test_calls_of_a_pack_are_told_of_by_the_place_that_executes_them():
    @task
    def tell(number: int) -> str:
        time.sleep(0.15 if number % 50 == 25 else 0)
        return threading.current_thread().name

    runner = TellingTaskRunner()

    _, futures = recorded(runner, lambda: tell.map(range(300)))

    assert runner.packs
    for future in futures:
        assert future.task_run.where.endswith("/" + future.result())


def test_pack_is_measured_as_its_calls_are(runner):
    run(runner, lambda: echo.map(range(300)).result())

    for pack in runner.packs:
        assert pack.nbytes == sum(call.nbytes for call in pack.calls)


def test_pack_is_executed_that_takes_long_before_it_begins(monkeypatch):
    class EarlyTimer(threading.Timer):
        """Comes at once, as it may on a machine that has been asleep."""

        def start(self) -> None:
            self.interval = 0
            super().start()
            self.join()

    monkeypatch.setattr(packs, "Timer", EarlyTimer)
    runner = TellingTaskRunner()

    assert run(runner, lambda: echo.map(range(20)).result()) == [*range(20)]
    assert runner.packs


def test_value_that_cannot_travel_crashes_its_run_alone(runner):
    @task
    def make(number: int) -> Any:
        return threading.Lock() if number == 150 else number

    _, futures = recorded(runner, lambda: make.map(range(300)))

    crashed = [number for number, it in enumerate(futures) if it.state.is_crashed()]
    assert crashed == [150]
    assert futures[150].name in str(futures[150].state.message)


# What goes wrong


def test_calls_of_a_lost_pack_are_charged_one_crash_and_sent_alone():
    runner = LossyTaskRunner()

    _, futures = recorded(runner, lambda: echo.map(range(200)))

    assert [future.result() for future in futures] == [*range(200)]
    lost = {call.name for pack in runner.packs for call in pack.calls}
    assert lost
    for future in futures:
        assert future.task_run.attempts == 1 + (future.name in lost)
    again = [call for call in runner.sent if call.attempt == 2]
    assert {call.name for call in again} == lost
    assert not [call for call in again if isinstance(call, Pack)]


def test_calls_of_a_refused_pack_are_crashed_for_good():
    class RefusingTaskRunner(PostTaskRunner):
        def submit(self, call: TaskCall, report: Report) -> None:
            if isinstance(call, Pack):
                raise RuntimeError("no packs here")
            super().submit(call, report)

    runner = RefusingTaskRunner()

    _, futures = recorded(runner, lambda: echo.map(range(100)))

    crashed = [future for future in futures if future.state.is_crashed()]
    assert crashed
    assert {call.attempt for call in runner.sent} == {1}
    assert "no packs here" in str(crashed[0].state.message)


def test_each_call_ends_though_a_task_runner_raises_more_than_errors():
    class LeavingTaskRunner(PostTaskRunner):
        def submit(self, call: TaskCall, report: Report) -> None:
            if call.program.task_name == "following" or (isinstance(call, Pack) and not self.packs):
                self.sent.append(call)
                raise SystemExit
            super().submit(call, report)

    runner = LeavingTaskRunner()
    following = echo.with_options(name="following")

    def body():
        futures = echo.map(range(300), wait_for=[nap.submit(0.1)])
        return [*futures, following.submit(futures[290])]

    _, futures = recorded(runner, body)

    assert len(runner.packs) > 1
    assert {future.state.name for future in futures} == {"Cancelled", "Completed"}
    assert futures[299].state.is_completed()


def test_what_cannot_be_read_crashes_the_pack():
    class GarblingTaskRunner(PostTaskRunner):
        def submit(self, call: TaskCall, report: Report) -> None:
            if isinstance(call, Pack):
                report.post(Outcome(progress=b"from another version"))
            else:
                super().submit(call, report)

    _, futures = recorded(GarblingTaskRunner(), lambda: echo.map(range(100)))

    crashed = [future for future in futures if future.state.is_crashed()]
    assert crashed
    assert "cannot be read here" in str(crashed[0].state.message)


@pytest.mark.parametrize("reported", [None, Outcome(Pickled(pickle.dumps("the last one's")))])
def test_what_is_no_outcome_of_a_pack_crashes_it(reported):
    class SloppyTaskRunner(PostTaskRunner):
        def submit(self, call: TaskCall, report: Report) -> None:
            if isinstance(call, Pack):
                self.sent.append(call)
                report.post(reported)
            else:
                super().submit(call, report)

    runner = SloppyTaskRunner()

    _, futures = recorded(runner, lambda: echo.map(range(100)))

    packed = {call.name for pack in runner.packs for call in pack.calls}
    assert packed
    assert {future.name for future in futures if future.state.is_crashed()} == packed


@pytest.mark.parametrize("told", [0, -1, 1.5, float("nan"), float("inf"), 1_000_000_000, "two"])
def test_task_runner_may_tell_its_slots_amiss(told):
    runner = PostTaskRunner(told_slots=told)

    assert run(runner, lambda: echo.map(range(300)).result()) == [*range(300)]


def test_flow_run_ends_in_time_whose_task_runner_is_asked_for_its_slots():
    class HangingTaskRunner(PostTaskRunner):
        def slots(self) -> int | None:
            for _ in range(100):
                time.sleep(0.1)
            return None

    @flow(task_runner=HangingTaskRunner(), timeout_seconds=0.5)
    def waiting() -> None:
        echo.submit(1)

    begin = time.monotonic()

    assert waiting.run().state.name == "TimedOut"
    assert time.monotonic() - begin < 5


def test_task_runner_that_cannot_tell_its_slots_is_given_packs():
    class UnsureTaskRunner(PostTaskRunner):
        def slots(self) -> int | None:
            raise ConnectionError("nobody knows")

    runner = UnsureTaskRunner()

    assert run(runner, lambda: echo.map(range(300)).result()) == [*range(300)]
    assert runner.packs


def test_cancelled_call_leaves_those_it_travels_with_alone(closed_gate):
    runner = TellingTaskRunner(max_workers=1, told_slots=1)

    def body() -> list[Any]:
        stand_at.map(range(1, 200), unmapped(0)).result()
        futures = [stand_at.submit(number, 0) for number in range(200)]
        assert begun.acquire(timeout=PATIENCE)
        assert all(future.cancel() for future in futures[100:150])
        closed_gate.set()
        return futures

    _, futures = recorded(runner, body)

    assert [future.cancelled() for future in futures] == [
        100 <= number < 150 for number in range(200)
    ]


def test_pack_is_taken_apart_whose_cancelled_call_does_not_end(closed_gate):
    class KillingTaskRunner(PostTaskRunner):
        """Says that it ends what is cancelled."""

        capabilities = Capabilities(gains_from_packing=True, kills=True)

        def cancel(self, call: TaskCall) -> None:
            cancelled.append(call)

    cancelled: list[TaskCall] = []
    runner = KillingTaskRunner()

    def body() -> list[Any]:
        futures = stand_at.map(range(500), unmapped(250))
        assert begun.acquire(timeout=PATIENCE)
        assert futures[250].cancel()
        for number, future in enumerate(futures):
            assert number == 250 or future.result(PATIENCE) == number
        closed_gate.set()
        return futures

    run, futures = recorded(runner, body)

    (pack,) = cancelled
    assert isinstance(pack, Pack)
    assert futures[250].cancelled()
    assert run.state.is_cancelled()


def test_pack_is_left_whole_whose_cancelled_call_never_began(closed_gate):
    class KillingTaskRunner(TellingTaskRunner):
        """Says that it ends what is cancelled."""

        capabilities = Capabilities(gains_from_packing=True, kills=True)

        def cancel(self, call: TaskCall) -> None:
            cancelled.append(call)

    cancelled: list[TaskCall] = []
    runner = KillingTaskRunner(max_workers=1, told_slots=1)

    def body() -> list[Any]:
        stand_at.map(range(100), unmapped(-1)).result()
        futures = stand_at.map(range(20), unmapped(5), wait_for=[nap.submit(0.1)])
        assert begun.acquire(timeout=PATIENCE)
        assert futures[10].cancel()
        time.sleep(1.5)  # longer than a cancelled call is waited for
        closed_gate.set()
        return futures

    _, futures = recorded(runner, body)

    assert any(futures[5].name in {call.name for call in pack.calls} for pack in runner.packs)
    assert not cancelled
    assert futures[5].task_run.attempts == 1


def test_calls_may_be_cancelled_while_a_pack_is_made_of_them(runner, monkeypatch):
    futures: dict[str, Any] = {}
    cancelled = []

    def cancel_all(calls) -> None:
        cancelled.extend(futures[call.name].cancel() for call in calls)

    class SlowPack(Pack):
        def __init__(self, calls) -> None:
            monkeypatch.setattr(units, "Pack", Pack)
            cancelling = threading.Thread(target=cancel_all, args=[calls], daemon=True)
            cancelling.start()
            cancelling.join(0.2)
            super().__init__(calls)

    monkeypatch.setattr(units, "Pack", SlowPack)

    def body() -> list[Any]:
        first = nap.submit(0.3)
        following = echo.map(range(300), wait_for=[first])
        futures.update({future.name: future for future in following})
        return following

    _, told = recorded(runner, body)

    ends = [future.state.name for future in told]
    assert ends.count("Cancelled") == cancelled.count(True) > 0
    assert ends.count("Completed") == 300 - cancelled.count(True)


def test_cancelling_all_sends_nothing_more(closed_gate):
    runner = PostTaskRunner()

    def body() -> list[Any]:
        futures = stand.map(range(300))
        for future in reversed(futures):
            future.cancel()
        closed_gate.set()
        return futures

    _, futures = recorded(runner, body)

    assert all(future.cancelled() for future in futures)
    assert len(runner.sent) < 20


# A task runner that reports by `done`, maybe inside ``submit``


def test_task_runner_may_refuse_many_that_wait(runner):
    class RefusingTaskRunner(PostTaskRunner):
        def submit(self, call: TaskCall, report: Report) -> None:
            if call.program.task_name == "echo":
                raise RuntimeError("not today")
            super().submit(call, report)

    def body():
        first = nap.submit(0.1)
        return echo.map(range(1000), wait_for=[first])

    _, futures = recorded(RefusingTaskRunner(), body)

    assert all("not today" in str(future.state.message) for future in futures)


def test_end_that_follows_on_progress_is_taken_after_it():
    class DoneTaskRunner(PostTaskRunner):
        """Tells of both by the thread that executes, at once one after the other."""

        def submit(self, call: TaskCall, report: Report) -> None:
            self._pool.submit(self._execute, pickle.loads(pickle.dumps(call)), report)

        def _execute(self, call: TaskCall, report: Report) -> None:
            told = []
            parcel = call.parcel()
            outcome = run_parcel(call.program, parcel.contents, tell=told.append)
            for progress in told:
                report.progressed(progress)
            report.done(outcome)

    @task
    def pause_at_times(number: int) -> int:
        time.sleep(0.12 if number % 37 == 36 else 0.0005)
        return number

    runner = DoneTaskRunner(max_workers=4, told_slots=4)

    assert run(runner, lambda: pause_at_times.map(range(600)).result()) == [*range(600)]


class Value:
    """What a flow returns."""


@pytest.mark.parametrize("is_cut_short", [False, True])
def test_flow_run_is_no_cyclic_garbage(runner, is_cut_short):
    values = [Value()]
    gone = weakref.ref(values[0])

    @flow(task_runner=runner)
    def packing() -> Value:
        futures = nap.map([0.0] * 200)
        if is_cut_short:
            nap.map([0.05] * 10)[-1].cancel()
        futures.wait()
        return values.pop()

    gc.collect()
    gc.disable()
    try:
        packing()
        runner.sent.clear()

        assert gone() is None
    finally:
        gc.enable()
