import pickle
import threading
import uuid
from contextlib import suppress

import pytest

from runnerstone import task
from runnerstone.errors import UnpicklableError
from runnerstone.programs import PROGRAMS_KEPT, Program


def arrived(program):
    """A program as another process gets it."""
    return pickle.loads(pickle.dumps(program))


def add(x, y):
    return x + y


@task
def by_name(x):
    return x


PICKLED, LOADED = [], []  # tokens


class Counted:
    """A callable that records when one of its token is pickled and unpickled."""

    def __init__(self, token):
        self.token = token

    def __reduce__(self):
        PICKLED.append(self.token)
        return Counted.load, (self.token,)

    @classmethod
    def load(cls, token):
        LOADED.append(token)
        return cls(token)

    def __call__(self, x):
        return x


class Met(Counted):
    """Likewise; unpickling it waits a little for another thread that does."""

    meeting = threading.Barrier(2)

    @classmethod
    def load(cls, token):
        with suppress(threading.BrokenBarrierError):
            cls.meeting.wait(timeout=0.2)
        return super().load(token)

    def __reduce__(self):
        return Met.load, (self.token,)


@pytest.fixture
def token():
    return str(uuid.uuid4())


def test_a_program_is_pickled_once_however_often_it_is_sent(token):
    program = Program.of(task(Counted(token)))

    sent = [pickle.dumps(program) for _ in range(3)]

    assert len(set(sent)) == 1
    assert PICKLED.count(token) == 1


def test_a_program_is_unpickled_once_a_worker_however_often_it_arrives(token):
    sent = pickle.dumps(Program.of(task(Counted(token))))

    values = [pickle.loads(sent).function()(number) for number in range(3)]

    assert values == [0, 1, 2]
    assert LOADED.count(token) == 1


def test_a_program_is_unpickled_once_though_two_threads_need_it_at_once(token):
    program = arrived(Program.of(task(Met(token))))
    threads = [threading.Thread(target=program.function) for _ in range(2)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert LOADED.count(token) == 1


def test_a_program_that_runs_here_is_never_pickled(token):
    counted = Counted(token)

    function = Program.of(task(counted)).function()

    assert function is counted
    assert token not in PICKLED


def test_a_worker_keeps_a_limited_number_of_programs(token):
    sent = pickle.dumps(Program.of(task(Counted(token))))
    pickle.loads(sent).function()

    for number in range(PROGRAMS_KEPT):
        arrived(Program.of(task(name=f"{token}-{number}")(add)))
    pickle.loads(sent).function()

    assert LOADED.count(token) == 2


def test_equal_programs_have_equal_digests_and_others_have_not():
    def digest(fn):
        return Program.of(task(fn)).digest

    assert digest(add) == digest(add)
    assert digest(add) != digest(arrived)
    assert len(digest(add)) == 16


def test_a_program_tells_what_it_is_where_it_arrives():
    program = Program.of(by_name)

    copy = arrived(program)

    assert copy.task_name == "by_name"
    assert copy.key == by_name.key
    assert copy.is_async is False
    assert (copy.digest, copy.payload) == (program.digest, program.payload)


def test_a_task_that_can_be_imported_travels_by_name():
    copy = arrived(Program.of(by_name))

    assert copy.function() is by_name.fn


def test_a_task_whose_name_leads_elsewhere_travels_by_value():
    changed = by_name.with_options(retries=1)

    copy = arrived(Program.of(changed))

    assert copy.function() is not by_name.fn
    assert copy.function()(5) == 5


def test_a_task_without_an_importable_name_travels_by_value():
    step = 2

    copy = arrived(Program.of(task(lambda x: x + step)))

    assert copy.function()(1) == 3


def test_a_variable_that_changed_between_flow_runs_is_seen():
    step = 1
    adding = task(lambda x: x + step)
    before = Program.of(adding).digest
    step = 2

    program = Program.of(adding)

    assert program.digest != before
    assert arrived(program).function()(1) == 3


def test_a_task_that_calls_itself_travels():
    @task
    def factorial(n):
        return n * factorial(n - 1) if n else 1

    copy = arrived(Program.of(factorial))

    assert copy.function()(5) == 120


def test_a_task_of_the_main_module_travels_by_value_with_what_it_uses(python):
    worker = "import pickle, sys; print(pickle.load(sys.stdin.buffer).function()(5))"
    script = f"""if True:
        import pickle, subprocess, sys
        from runnerstone import task
        from runnerstone.programs import Program

        class Number:
            def __init__(self, value):
                self.value = value

        @task
        def factorial(n):
            return n * factorial(n - 1) if n else Number(1).value

        program = pickle.dumps(Program.of(factorial))
        subprocess.run([sys.executable, "-c", {worker!r}], input=program, check=True)
    """

    finished = python.run(["-c", script])

    assert (finished.stdout, finished.stderr) == ("120\n", "")


def test_a_program_that_cannot_travel_names_the_task_and_the_culprit():
    lock = threading.Lock()

    @task(name="locked")
    def use():
        return lock

    with pytest.raises(UnpicklableError, match=r"'locked' cannot travel.*'lock'.*_thread"):
        _ = Program.of(use).payload
