import importlib
import pickle
import sys
import threading

import attrs
import cloudpickle
import numpy as np
import pytest

from runnerstone._pickles import dump, dump_arguments, dump_in_band, find_unpicklable
from runnerstone.contents import Pickled
from runnerstone.errors import UnpicklableError

LOCK = threading.Lock()
REASON = r"TypeError: cannot pickle '_thread\.lock' object"


class Named:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


@attrs.frozen
class Slotted:
    content: object


class NoRepr:
    """Fit to be a key."""

    def __repr__(self):
        raise RuntimeError("no repr")


class Stubborn:
    def __reduce__(self):
        raise OSError("not while it rains")


class Counted:
    """Counts how often it is pickled."""

    times = 0

    def __reduce__(self):
        Counted.times += 1
        return Counted, ()


def travelled(value):
    """The value as another process would get it, over a pipe that knows no buffers."""
    return pickle.loads(pickle.dumps(dump(value))).load()


# Values and their buffers


@pytest.mark.parametrize(
    "value", [None, 1.5, "text", [1, {"two": (3,)}], {1, 2}, Ellipsis, range(3), len]
)
def test_a_value_comes_back_as_it_was(value):
    assert travelled(value) == value


def test_each_load_gives_a_copy_of_its_own():
    pickled = dump([1])

    first, second = pickled.load(), pickled.load()

    assert first == second
    assert first is not second


def test_the_data_of_an_array_stays_out_of_band():
    array = np.arange(1000)

    pickled = dump({"array": array})

    assert [buffer.nbytes for buffer in pickled.buffers] == [array.nbytes]
    assert len(pickled.head) < 1000


def test_the_data_of_an_array_is_not_copied():
    array = np.arange(1000)

    copy = dump(array).load()

    assert np.shares_memory(array, copy)


def test_a_loaded_array_is_read_only():
    copy = dump(np.arange(3)).load()

    with pytest.raises(ValueError, match="read-only"):
        copy[0] = 1


def test_a_buffer_is_loaded_read_only():
    copy = dump(pickle.PickleBuffer(bytearray(b"abc"))).load()

    assert memoryview(copy).readonly


def test_in_band_leaves_no_buffers():
    array = np.arange(3)

    pickled = dump_in_band(array)

    assert Pickled(pickled).load().tolist() == [0, 1, 2]


def test_buffers_are_the_values_own_memory_unless_a_snapshot_is_wanted():
    array = np.arange(3)

    shared, snapshot = dump(array), dump(array, snapshot=True)
    array[0] = 7

    assert shared.load().tolist() == [7, 1, 2]
    assert snapshot.load().tolist() == [0, 1, 2]


def test_a_snapshot_does_not_copy_what_cannot_change():
    array = np.arange(3)
    array.flags.writeable = False

    pickled = dump(array, snapshot=True)

    assert np.shares_memory(pickled.load(), array)


def test_a_large_head_travels_as_a_buffer_and_a_small_one_in_the_pickle():
    sizes = []
    for value in (b"x" * 100, b"x" * 1_000_000):
        buffers = []

        head = pickle.dumps(dump(value), protocol=5, buffer_callback=buffers.append)

        sizes.append((len(head) < 1000, len(buffers)))
        assert pickle.loads(head, buffers=buffers).load() == value

    assert sizes == [(True, 0), (True, 1)]


def test_pickled_says_to_engines_how_much_memory_it_holds():
    assert sys.getsizeof(dump(np.zeros(100_000))) > 800_000


def test_size_counts_the_head_and_the_buffers():
    pickled = dump([np.arange(4, dtype="u1"), np.arange(8, dtype="u1")])

    assert pickled.nbytes == len(pickled.head) + 4 + 8


def test_repr_tells_the_size_and_not_the_value():
    pickled = Pickled(b"1234", (memoryview(b"56"),))

    assert repr(pickled) == "<Pickled value of 6 bytes>"


# Pickling what is pickled


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_value_travels_in_band(protocol):
    pickled = dump(np.arange(3))

    copy = pickle.loads(pickle.dumps(pickled, protocol=protocol))

    assert copy.load().tolist() == [0, 1, 2]


def test_a_pickled_value_travels_out_of_band_without_a_copy():
    array = np.arange(1000)
    buffers = []

    head = pickle.dumps(dump(array), protocol=5, buffer_callback=buffers.append)
    copy = pickle.loads(head, buffers=buffers)

    assert len(head) < 1000
    assert np.shares_memory(copy.load(), array)


@pytest.mark.parametrize("out_of_band", [False, True])
def test_an_array_is_read_only_after_it_travelled(out_of_band):
    buffers = []
    keep = buffers.append if out_of_band else None
    head = pickle.dumps(dump(np.arange(3)), protocol=5, buffer_callback=keep)
    # As they arrive from a network: in memory that could be written to.
    arrived = [bytearray(buffer) for buffer in buffers]

    array = pickle.loads(head, buffers=arrived).load()

    assert not array.flags.writeable


# What travels by value


def test_a_lambda_travels():
    step = 2

    copy = travelled(lambda x: x + step)

    assert copy(1) == 3


def test_a_local_class_travels():
    class Local:
        answer = 42

    copy = travelled([Local()])

    assert copy[0].answer == 42


def test_a_module_level_function_travels_by_name():
    assert dump(importlib.import_module).load() is importlib.import_module
    assert dump(test_a_lambda_travels).load() is test_a_lambda_travels


@pytest.mark.parametrize("wrap", ["f", "[f]", "Holder()"])
def test_what_the_main_module_defines_travels_by_value(python, wrap):
    reader = "import pickle, sys; print(pickle.load(sys.stdin.buffer).load())"
    script = f"""if True:
        import pickle, subprocess, sys
        from runnerstone._pickles import dump

        def f():
            return "called"

        class Holder:
            def __repr__(self):
                return f()

        data = pickle.dumps(dump({wrap}))
        subprocess.run([sys.executable, "-c", {reader!r}], input=data, check=True)
    """

    finished = python.run(["-c", script])

    assert finished.stderr == ""
    assert finished.stdout.startswith(("<function f", "[<function f", "called"))


@pytest.mark.parametrize("registered", ["only_here", "only_here.numbers"])
def test_what_a_module_by_value_defines_travels_without_it(site, registered):
    package = site.folder / "only_here"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "numbers.py").write_text("def double(x):\n    return 2 * x\n")
    importlib.invalidate_caches()
    double = importlib.import_module("only_here.numbers").double
    by_value = sys.modules[registered]

    cloudpickle.register_pickle_by_value(by_value)
    pickled = dump({"fn": double})
    cloudpickle.unregister_pickle_by_value(by_value)
    del sys.modules["only_here.numbers"], sys.modules["only_here"]
    sys.path.remove(str(site.folder))

    assert pickled.load()["fn"](4) == 8


def test_a_value_that_the_standard_pickler_gave_up_on_has_its_buffers_once():
    pickled = dump([np.arange(3), lambda: 1])

    assert len(pickled.buffers) == 1
    assert pickled.load()[0].tolist() == [0, 1, 2]


def test_what_the_standard_pickler_can_do_is_pickled_once():
    before = Counted.times

    dump([Counted()])

    assert Counted.times == before + 1


def test_plain_values_do_not_load_cloudpickle(python):
    loaded = python.imports("from runnerstone._pickles import dump; dump([1, 'two', len])")

    assert "cloudpickle" not in loaded


def test_what_the_users_reduce_raises_is_raised():
    with pytest.raises(OSError, match="not while it rains"):
        dump(Stubborn())


# What cannot be pickled


def closure_over_lock():
    lock = threading.Lock()
    return lambda: lock


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (LOCK, "x"),
        ([1, LOCK], "x[1]"),
        ((LOCK, 1), "x[0]"),
        ({"a": 1, "b": LOCK}, "x['b']"),
        ({(1, 2): LOCK}, "x[(1, 2)]"),
        ({1, LOCK}, f"x (its element {LOCK!r})"),
        (Named(inner=1, lock=LOCK), "x.lock"),
        (Slotted([LOCK]), "x.content[0]"),
        (Named(tree={"leaves": [0, (Named(lock=LOCK),)]}), "x.tree['leaves'][1][0].lock"),
        (lambda: LOCK, "x (its variable 'LOCK')"),
        (closure_over_lock(), "x (its variable 'lock')"),
        ([Named(fn=closure_over_lock())], "x[0].fn (its variable 'lock')"),
        ({NoRepr(): LOCK}, "x[<NoRepr whose repr raised RuntimeError>]"),
    ],
)
def test_the_innermost_part_that_cannot_be_pickled_is_named(value, path):
    text = find_unpicklable(value, "x")

    assert text == (
        f"{path}, of type _thread.lock, cannot be pickled: "
        "TypeError: cannot pickle '_thread.lock' object"
    )


def test_an_object_that_refuses_is_named_with_its_reason():
    text = find_unpicklable({"first": 1, "second": Stubborn()}, "argument 'x'")

    assert text == (
        f"argument 'x'['second'], of type {__name__}.Stubborn, cannot be pickled: "
        "OSError: not while it rains"
    )


def test_a_builtin_type_is_named_without_its_module():
    text = find_unpicklable(Named(steps=(step for step in range(3))), "x")

    assert text is not None
    assert text.startswith("x.steps, of type generator, cannot be pickled: TypeError: ")


def test_a_part_that_holds_itself_is_searched_once():
    value = [LOCK]
    value.insert(0, value)

    text = find_unpicklable(value, "x")

    assert text is not None
    assert text.startswith("x[1], of type _thread.lock")


def test_a_function_with_a_variable_not_yet_assigned_is_blamed_itself():
    def before():
        return LOCK, later

    text = find_unpicklable(before, "x")
    later = None

    assert text is not None
    assert text.startswith("x, of type function, cannot be pickled: TypeError: ")


@pytest.mark.parametrize("value", [1, [1, {"a": (2,)}], Named(a=1), Slotted([1]), lambda: 1])
def test_nothing_is_found_in_what_can_be_pickled(value):
    assert find_unpicklable(value, "x") is None


class Slot:
    """Stands for what is replaced before pickling, and cannot be pickled itself."""

    def __init__(self):
        self.lock = LOCK


def test_what_is_replaced_before_pickling_is_not_blamed():
    value = [Slot(), {"deep": [Slot(), LOCK]}]

    text = find_unpicklable(value, "x", frozenset({Slot}))

    assert text is not None
    assert text.startswith("x[1]['deep'][1], of type _thread.lock")


# Arguments


def test_arguments_are_pickled_once_and_not_searched():
    def parts():
        raise AssertionError("searched for what could not be pickled")

    before = Counted.times

    pickled = dump_arguments(((Counted(),), {}), parts, frozenset())

    assert isinstance(pickled.load()[0][0], Counted)
    assert Counted.times == before + 1


def test_the_argument_that_cannot_be_pickled_is_named():
    arguments = {"paths": ["a"], "lock": [LOCK]}

    with pytest.raises(UnpicklableError, match=rf"^argument 'lock'\[0\], .*: {REASON}$") as raised:
        dump_arguments(((), arguments), lambda: arguments, frozenset())

    assert isinstance(raised.value.__cause__, TypeError)


def test_arguments_that_fail_only_together_are_refused_as_a_whole():
    class Picky:
        refused = True

        def __reduce__(self):
            if Picky.refused:
                raise OSError("only now")
            return int, ()

    def parts():
        Picky.refused = False
        return {"x": picky}

    picky = Picky()

    with pytest.raises(
        UnpicklableError, match=r"^its arguments cannot be pickled: OSError\('only now'\)$"
    ):
        dump_arguments((picky,), parts, frozenset())
