"""Finding marked objects inside values, and filling other values in their place."""

import copy
import dataclasses
import gc
import pickle
import sys
import threading
import weakref
from collections import Counter, OrderedDict, defaultdict, namedtuple
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerstone._arguments import Template, extract, extract_arguments
from runnerstone._containers import rebuilt_as_list

DEPTH = 50_000


class Marked:
    """Stands for a future: found by type, hashed by identity, refuses pickling."""

    def __reduce__(self) -> Any:
        raise TypeError("a marked object cannot be pickled")


class OtherMarked(Marked):
    pass


WANTED = frozenset({Marked})


@dataclasses.dataclass
class Record:
    first: Any
    second: Any = None


@dataclasses.dataclass(frozen=True)
class FrozenRecord:
    first: Any
    second: Any = None


@dataclasses.dataclass(slots=True)
class SlottedRecord:
    first: Any
    second: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlottedRecord:
    first: Any
    second: Any = None


@attrs.define
class AttrsRecord:
    first: Any
    second: Any = None


@attrs.frozen
class FrozenAttrsRecord:
    first: Any
    second: Any = None


@attrs.define(slots=False)
class DictAttrsRecord:
    first: Any
    second: Any = None


RECORDS = [
    Record,
    FrozenRecord,
    SlottedRecord,
    FrozenSlottedRecord,
    AttrsRecord,
    FrozenAttrsRecord,
    DictAttrsRecord,
]


class Pair(NamedTuple):
    first: Any
    second: Any


class LabelledList(list):
    label: Any


class LabelledTuple(tuple):  # noqa: SLOT001
    label: Any


class LabelledSet(set):
    label: Any


class LabelledFrozenset(frozenset):
    label: Any


class LabelledDict(dict):
    label: Any


class SlottedList(list):
    __slots__ = ("__private", "label")

    def set_private(self, value: Any) -> None:
        self.__private = value

    def get_private(self) -> Any:
        return self.__private


def fill(value: Any, *values: Any) -> Any:
    found, template = extract(value, WANTED)
    assert template is not None
    assert len(found) == len(values)
    return template.fill(values)


def nested(depth: int, innermost: Any) -> list[Any]:
    value = [innermost]
    for _ in range(depth):
        value = [value]
    return value


# What is found


def test_a_marked_object_itself_is_found():
    marked = Marked()

    found, template = extract(marked, WANTED)

    assert found == [marked]
    assert template.fill(["value"]) == "value"


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, (), [1, {"a": (2,)}], Record([1])])
def test_nothing_found_gives_no_template(value):
    found = extract(value, WANTED)

    assert found == ([], None)


def test_objects_are_found_in_the_order_of_first_visit():
    marked = [Marked() for _ in range(6)]
    value = [marked[0], {"a": [marked[1], marked[2]], "b": marked[3]}, marked[1], (marked[4],)]

    found, _ = extract([value, Record(marked[5], marked[0])], WANTED)

    assert found == marked


def test_an_object_in_several_places_is_found_once():
    marked = Marked()
    value = [marked, marked, {"a": marked}, [marked, marked]]

    found, template = extract(value, WANTED)

    assert found == [marked]
    assert template.fill([1]) == [1, 1, {"a": 1}, [1, 1]]


def test_objects_are_told_apart_by_identity_and_not_by_equality():
    class Equal:
        def __eq__(self, other):
            return True

        __hash__ = None

    value = [Equal(), Equal()]

    found, template = extract(value, frozenset({Equal}))

    assert len(found) == 2
    assert template.fill([1, 2]) == [1, 2]


def test_several_types_can_be_wanted_at_once():
    value = [Marked(), OtherMarked()]

    found, _ = extract(value, frozenset({Marked, OtherMarked}))

    assert found == value


def test_a_subclass_of_a_wanted_type_is_not_found():
    value = [OtherMarked()]

    assert extract(value, WANTED) == ([], None)


def test_the_inside_of_a_found_object_is_not_searched():
    outer = Record(Marked())

    found, _ = extract([outer], frozenset({Marked, Record}))

    assert found == [outer]


# Containers


@pytest.mark.parametrize("container", [list, tuple, set, frozenset, LabelledFrozenset, SlottedList])
def test_a_collection_is_rebuilt_as_its_own_type(container):
    filled = fill(container([1, Marked()]), "value")

    assert type(filled) is container
    assert set(filled) == {1, "value"}


def test_a_list_of_nothing_but_found_objects_keeps_its_order():
    filled = fill([Marked(), Marked(), Marked()], 1, 2, 3)

    assert filled == [1, 2, 3]


def test_a_second_list_of_the_same_objects_gets_the_same_values():
    first, second, third = Marked(), Marked(), Marked()

    filled = fill([[first, second], [second, first], [second, third]], 1, 2, 3)

    assert filled == [[1, 2], [2, 1], [2, 3]]


def test_values_of_a_dict_are_replaced():
    assert fill({"a": Marked(), "b": 2}, 1) == {"a": 1, "b": 2}


def test_keys_of_a_dict_are_replaced_and_keep_their_order():
    filled = fill({Marked(): 1, (Marked(), 0): Marked(), "c": 3}, "a", "b", 2)

    assert [*filled.items()] == [("a", 1), (("b", 0), 2), ("c", 3)]


def test_an_ordered_dict_keeps_its_own_order():
    value = OrderedDict(a=Marked(), b=2)
    value.move_to_end("a")

    filled = fill(value, 1)

    assert type(filled) is OrderedDict
    assert [*filled.items()] == [("b", 2), ("a", 1)]
    filled.move_to_end("b")
    assert [*filled] == ["a", "b"]


def test_a_defaultdict_keeps_its_factory():
    filled = fill(defaultdict(list, a=Marked()), 1)

    assert type(filled) is defaultdict
    assert filled == {"a": 1}
    assert filled["b"] == []


def test_a_defaultdict_with_a_constructor_of_its_own_is_rebuilt():
    class Tree(defaultdict):
        def __init__(self):
            super().__init__(Tree)

    value = Tree()
    value["a"]["b"] = Marked()

    filled = fill(value, 1)

    assert filled == {"a": {"b": 1}}
    assert type(filled["new"]["new"]) is Tree


def test_a_counter_stays_a_counter():
    filled = fill(Counter({"a": 2, Marked(): 3}), "b")

    assert type(filled) is Counter
    assert filled.most_common() == [("b", 3), ("a", 2)]


@pytest.mark.parametrize("pair", [Pair, namedtuple("Pair", "first second")])  # noqa: PYI024
def test_a_namedtuple_is_rebuilt(pair):
    filled = fill(pair(Marked(), 2), 1)

    assert type(filled) is pair
    assert (filled.first, filled.second) == (1, 2)


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_rebuilt(record):
    filled = fill(record([Marked()], Marked()), 1, 2)

    assert type(filled) is record
    assert filled == record([1], 2)


@pytest.mark.parametrize(
    "labelled", [LabelledList, LabelledTuple, LabelledSet, LabelledFrozenset, LabelledDict]
)
def test_attributes_of_a_subclass_are_searched_and_kept(labelled):
    value = labelled()
    value.label = [Marked()]
    value.other = "kept"

    filled = fill(value, 1)

    assert type(filled) is labelled
    assert vars(filled) == {"label": [1], "other": "kept"}


def test_items_and_attributes_are_replaced_together():
    value = LabelledTuple([Marked(), 2])
    value.label = Marked()

    filled = fill(value, 1, 3)

    assert filled == (1, 2)
    assert filled.label == 3


def test_slots_are_searched_and_kept_even_private_ones():
    value = SlottedList([Marked()])
    value.label = Marked()
    value.set_private(Marked())

    filled = fill(value, 1, 2, 3)

    assert filled == [1]
    assert {filled.label, filled.get_private()} == {2, 3}


def test_an_unset_slot_stays_unset():
    value = AttrsRecord(Marked())
    del value.second

    filled = fill(value, 1)

    assert filled.first == 1
    assert not hasattr(filled, "second")


def test_attributes_that_are_no_fields_are_kept():
    value = Record(Marked())
    value.extra = Marked()

    filled = fill(value, 1, 2)

    assert vars(filled) == {"first": 1, "second": None, "extra": 2}


def test_a_subclass_of_a_record_is_a_record():
    class Sub(AttrsRecord):
        pass

    filled = fill(Sub(Marked()), 1)

    assert type(filled) is Sub
    assert filled.first == 1


def test_constructors_of_records_do_not_run():
    @dataclasses.dataclass
    class Careful:
        value: Any

        def __new__(cls, *args):
            calls.append("new")
            return super().__new__(cls)

        def __post_init__(self):
            calls.append("post_init")

    calls = []
    value = Careful(Marked())
    calls.clear()

    filled = fill(value, 1)

    assert filled.value == 1
    assert calls == []


def test_methods_of_a_container_do_not_run():
    class Hostile(dict):
        def refuse(self, *args):
            raise AssertionError("called")

        __iter__ = __getitem__ = __setitem__ = keys = values = items = refuse
        __copy__ = __reduce_ex__ = __getattribute__ = __setattr__ = __bool__ = __len__ = refuse

    value = Hostile(a=Marked())

    filled = fill(value, 1)

    assert type(filled) is Hostile
    assert dict.__getitem__(filled, "a") == 1


def test_a_cached_hash_of_attrs_is_dropped():
    @attrs.frozen(cache_hash=True)
    class Cached:
        value: Any

    value = Cached(Marked())
    hash(value)

    filled = fill({value}, 1)

    assert filled == {Cached(1)}


@pytest.mark.parametrize("record", [FrozenRecord, FrozenSlottedRecord, FrozenAttrsRecord])
def test_what_is_hashed_is_complete_by_then(record):
    value = {frozenset([record((Marked(), 1))]): {record(Marked())}}

    filled = fill(value, "a", "b")

    assert filled == {frozenset([record(("a", 1))]): {record("b")}}


def test_what_is_to_be_rebuilt_as_a_list_is_one_wherever_it_is():
    @rebuilt_as_list
    class Listed(list):
        __slots__ = ()

    value = [Listed([Marked(), 1]), {"a": Listed([2])}, Listed()]

    filled = fill(value, 0)

    assert filled == [[0, 1], {"a": [2]}, []]
    assert {type(it) for it in (filled[0], filled[1]["a"], filled[2])} == {list}


@pytest.mark.parametrize("content", [[], [1], [[]]], ids=len)
@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: [it], lambda it: {"a": (it,)}])
def test_what_is_to_be_rebuilt_as_a_list_is_so_though_nothing_is_found(content, wrap):
    @rebuilt_as_list
    class Listed(list):
        __slots__ = ()

    for arguments in [((wrap(Listed(content)),), {}), ((), {"x": wrap(Listed(content))})]:
        found, template = extract_arguments(*arguments, WANTED)

        args, kwargs = template.fill(found)
        filled = args[0] if args else kwargs["x"]
        assert found == []
        assert repr(filled) == repr(wrap(content))
        assert "Listed" not in str(pickle.dumps(template))


# Leaves


def leaf_of(kind: str) -> Any:
    marked = Marked()
    if kind == "generator":
        return (x for x in [marked])
    if kind == "iterator":
        return iter([marked])
    if kind == "class":
        return dataclasses.make_dataclass("Local", [("x", Any, marked)])
    if kind == "namespace":
        return SimpleNamespace(x=marked)
    if kind == "mock":
        return MagicMock(x=marked)
    if kind == "exception":
        return ValueError(marked)
    if kind == "struct":
        return sys.version_info
    return lambda: marked


@pytest.mark.parametrize(
    "kind",
    ["generator", "iterator", "class", "namespace", "mock", "exception", "struct", "function"],
)
def test_anything_else_is_a_leaf(kind):
    leaf = leaf_of(kind)
    marked = Marked()

    found, template = extract([leaf, marked], WANTED)

    assert found == [marked]
    assert template.fill([1])[0] is leaf


def test_generators_are_not_consumed():
    generator = (x for x in [1, 2, 3])

    extract([generator, Marked()], WANTED)

    assert [*generator] == [1, 2, 3]


def test_leaves_are_not_touched():
    class Untouchable:
        def __getattribute__(self, name):
            raise AssertionError(name)

        __eq__ = __hash__ = __iter__ = __len__ = __bool__ = None

    leaf = Untouchable()

    found, _ = extract([leaf, Marked()], WANTED)

    assert len(found) == 1


def test_numpy_arrays_are_leaves():
    numpy = pytest.importorskip("numpy")
    array = numpy.array([Marked()], dtype=object)

    found, template = extract([array, Marked()], WANTED)

    assert len(found) == 1
    assert template.fill([1])[0] is array


def test_a_record_with_a_memory_layout_of_its_own_is_a_leaf():
    @attrs.define
    class FieldError(Exception):
        cause: Any

    assert extract([FieldError(Marked())], WANTED) == ([], None)


# Identity, sharing, cycles


def test_a_container_without_a_found_object_passes_by_identity():
    constant = {"a": [1, 2], "b": Record([3])}

    filled = fill([constant, Marked(), (constant,)], 1)

    assert filled[0] is constant
    assert filled[2][0] is constant


@pytest.mark.parametrize("container", [list, LabelledList, tuple, Record, AttrsRecord, Pair])
def test_the_original_is_not_modified(container):
    marked = Marked()
    parts = [[marked], {"a": marked}]
    value = container(*parts) if container in {Record, AttrsRecord, Pair} else container(parts)
    before = copy.copy(value)

    fill(value, 1)

    assert value == before
    assert parts == [[marked], {"a": marked}]


def test_a_shared_container_stays_shared():
    shared = [Marked()]

    filled = fill([shared, {"a": shared}, (shared,)], 1)

    assert filled == [[1], {"a": [1]}, ([1],)]
    assert filled[0] is filled[1]["a"] is filled[2][0]


def test_two_equal_containers_stay_two():
    marked = Marked()

    filled = fill([[marked], [marked]], 1)

    assert filled[0] is not filled[1]


def test_a_list_may_contain_itself():
    value = [Marked()]
    value.append(value)

    filled = fill(value, 1)

    assert filled[0] == 1
    assert filled[1] is filled


def test_a_dict_may_contain_itself():
    value = LabelledDict(a=Marked())
    value["self"] = value.label = value

    filled = fill(value, 1)

    assert filled["a"] == 1
    assert filled["self"] is filled
    assert filled.label is filled


def test_a_record_may_refer_to_itself():
    value = FrozenAttrsRecord(Marked())
    object.__setattr__(value, "second", (value,))

    filled = fill(value, 1)

    assert filled.first == 1
    assert filled.second[0] is filled


def test_a_tuple_in_a_cycle_through_a_list_is_rebuilt():
    inner = [Marked()]
    value = (inner,)
    inner.append(value)

    filled = fill(value, 1)

    assert type(filled) is tuple
    assert filled[0][0] == 1
    assert filled[0][1] is filled


def test_tuples_in_tuples_in_a_cycle_are_rebuilt():
    inner = []
    outer = (inner, 0)
    middle = (outer, Marked())
    inner.append((middle, middle))

    filled = fill(outer, 1)

    assert filled[0][0][0] is filled[0][0][1]
    assert filled[0][0][0][0] is filled
    assert filled[0][0][0][1] == 1


def test_a_tuple_may_refer_to_itself_by_an_attribute():
    value = LabelledTuple([Marked()])
    value.label = [value]

    filled = fill(value, 1)

    assert filled == (1,)
    assert filled.label[0] is filled


def test_a_cycle_without_a_found_object_passes_by_identity():
    cycle = []
    cycle.append((cycle,))

    filled = fill([cycle, Marked()], 1)

    assert filled[0] is cycle


def test_a_found_object_behind_a_cycle_is_replaced():
    first, second = Record(0), Record(0)
    first.first, second.first = [second], {"first": first}
    second.second = Marked()

    filled = fill([first], 1)

    assert filled[0].first[0].first["first"] is filled[0]
    assert filled[0].first[0].second == 1


@dataclasses.dataclass(frozen=True)
class Child:
    parent: Any = dataclasses.field(compare=False)
    name: Any


@pytest.mark.parametrize("collection", [set, dict.fromkeys, frozenset])
def test_a_child_in_its_parents_collection_is_hashed_with_its_name(collection):
    parent = Record(None)
    child = Child(parent, (Marked(), "name"))
    parent.first = collection([child])

    filled = fill(child, 1)

    assert filled.name == (1, "name")
    assert filled in filled.parent.first
    assert filled is next(iter(filled.parent.first))


@pytest.mark.parametrize("collection", [set, dict.fromkeys])
def test_sets_and_dicts_in_a_cycle_hash_what_has_cycles_of_its_own(collection):
    itself = Child(None, Marked())
    object.__setattr__(itself, "parent", itself)
    parent = Record(None)
    child = Child(parent, (itself,))
    parent.first = collection([child])

    filled = fill(child, 1)

    assert filled.name[0].parent is filled.name[0]
    assert filled in filled.parent.first


# Templates


def test_a_template_can_be_filled_again():
    _, template = extract([Marked(), {"a": [Marked()]}], WANTED)

    first = template.fill([1, 2])
    first[1]["a"].append("changed")

    assert template.fill([3, 4]) == [3, {"a": [4]}]


def test_a_template_keeps_no_value_that_it_was_filled_with():
    _, template = extract([Marked(), {"a": Marked()}, (Marked(), Record(Marked()))], WANTED)

    template.fill([Marked()] * 4)

    assert pickle.loads(pickle.dumps(template)).fill([1, 2, 3, 4])[:2] == [1, {"a": 2}]


def test_a_template_can_be_filled_by_many_threads_at_once():
    _, template = extract([[Marked(), {"a": Marked()}] for _ in range(20)], WANTED)
    barrier = threading.Barrier(8)

    def work(number: int) -> bool:
        barrier.wait()
        expected = [[number, {"a": number}]] * 20
        return all(template.fill([number] * 40) == expected for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_a_template_refuses_another_number_of_values():
    _, template = extract([Marked(), Marked()], WANTED)

    with pytest.raises(ValueError, match="got 1 values for 2 slots"):
        template.fill([1])


def picklable_values() -> list[Any]:
    labelled = LabelledTuple([Marked()])
    labelled.label = {"a": Marked()}
    cyclic = [Marked(), {1}]
    cyclic.append((cyclic,))
    records = [record(Marked(), [Marked()]) for record in RECORDS]
    several = [Marked(), Marked()]
    mixed = [OrderedDict(a=Marked()), defaultdict(list, a=Marked()), Counter([Marked()])]
    return [Marked(), several, records, mixed, labelled, cyclic, {Marked(): {(Marked(), 1)}}]


@pytest.mark.parametrize("value", picklable_values())
def test_a_template_pickles_although_the_found_objects_do_not(value):
    found, template = extract(value, WANTED)
    values = [*range(len(found))]

    copied = pickle.loads(pickle.dumps(template))

    assert repr(copied.fill(values)) == repr(template.fill(values))


def test_a_template_refers_neither_to_found_objects_nor_to_their_containers():
    value = LabelledList([Marked(), Record({"a": Marked()})])
    alive = [weakref.ref(x) for x in (value, value[0], value[1], value[1].first["a"])]

    found, template = extract(value, WANTED)
    gc.disable()
    try:
        del value, found
        left = [x() for x in alive]
    finally:
        gc.enable()

    assert left == [None] * 4
    assert template.fill([1, 2]) == [1, Record({"a": 2})]


def test_classes_of_searched_values_are_not_kept_alive():
    local = dataclasses.make_dataclass("Local", [("x", Any)])
    alive = weakref.ref(local)
    extract([local(1)], WANTED)

    del local
    gc.collect()

    assert alive() is None


# Depth


def test_deep_nesting_is_searched_filled_and_pickled():
    value = nested(DEPTH, Marked())

    _, template = extract(value, WANTED)
    filled = pickle.loads(pickle.dumps(template)).fill(["value"])

    for _ in range(DEPTH):
        (filled,) = filled
    assert filled == ["value"]


def test_deep_nesting_without_a_found_object_is_searched():
    assert extract(nested(DEPTH, 1), WANTED) == ([], None)


def test_a_deep_cycle_through_tuples_is_rebuilt():
    innermost: list[Any] = []
    value: Any = (innermost,)
    for _ in range(DEPTH):
        value = (value, Marked())
    innermost.append(value)

    found, template = extract(innermost, WANTED)
    filled = template.fill(range(len(found)))

    assert len(found) == DEPTH
    part = filled[0]
    for number in reversed(range(DEPTH)):
        part, value = part
        assert value == number
    assert part[0] is filled


def test_long_chains_of_records_that_know_their_neighbours_are_rebuilt():
    records = [Record(None, None) for _ in range(DEPTH)]
    for left, right in pairwise(records):
        left.second, right.first = right, left
    records[0].first = Marked()

    filled = fill(records[0], "head")

    assert filled.first == "head"
    assert filled.second.second.first is filled.second


def test_many_records_that_know_their_common_owner_are_rebuilt():
    owner: list[Any] = []
    owner += [(owner, Record(owner, Marked())) for _ in range(DEPTH)]

    found, template = extract(owner, WANTED)
    filled = template.fill(range(len(found)))

    assert [record.second for _, record in filled] == [*range(DEPTH)]
    assert all(part is record.first is filled for part, record in filled)


# Arguments of calls


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, "a"), {}), ((1,), {"b": 2.0}), (([1, 2],), {"b": {"c": [3]}})],
)
def test_plain_arguments_give_no_template(args, kwargs):
    assert extract_arguments(args, kwargs, WANTED) == ([], None)


def test_found_arguments_are_replaced():
    first, second = Marked(), Marked()

    found, template = extract_arguments((1, first), {"a": second, "b": 2, "c": first}, WANTED)

    assert found == [first, second]
    assert template.fill("xy") == ((1, "x"), {"a": "y", "b": 2, "c": "x"})


def test_objects_inside_arguments_are_found_in_the_order_of_first_visit():
    first, second, third = Marked(), Marked(), Marked()
    args, kwargs = ([first], second), {"a": {"b": third}, "c": first}

    found, template = extract_arguments(args, kwargs, WANTED)

    assert found == [first, second, third]
    assert template.fill([1, 2, 3]) == (([1], 2), {"a": {"b": 3}, "c": 1})


def test_containers_shared_by_arguments_stay_shared():
    shared = [Marked()]

    _, template = extract_arguments((shared,), {"a": shared}, WANTED)
    args, kwargs = template.fill([1])

    assert args[0] is kwargs["a"]


def test_plain_containers_among_found_arguments_pass_by_identity():
    constant = [1, 2]

    _, template = extract_arguments((Marked(), constant), {"a": constant}, WANTED)
    args, kwargs = template.fill([1])

    assert args[1] is kwargs["a"] is constant


def test_attributes_of_arguments_are_searched():
    value = LabelledList([1, 2])
    value.label = Marked()

    _, template = extract_arguments((value,), {}, WANTED)
    args, kwargs = template.fill(["value"])

    assert args[0].label == "value"
    assert kwargs == {}


def test_keyword_arguments_are_new_at_each_filling():
    _, template = extract_arguments((Marked(),), {"a": 1}, WANTED)

    first, second = template.fill([1])[1], template.fill([1])[1]

    assert first == second
    assert first is not second


@pytest.mark.parametrize("keyword", [Marked(), [Marked()]])
def test_templates_of_arguments_can_be_pickled(keyword):
    _, template = extract_arguments((1, Marked()), {"a": keyword}, WANTED)

    copied = pickle.loads(pickle.dumps(template))

    assert copied.fill([2, 3]) == template.fill([2, 3])


# Any nesting


def naive(value: Any, found: list[Any]) -> Any:
    """Replace marked objects by their numbers, recursively."""
    kind = type(value)
    if kind is Marked:
        if not any(value is x for x in found):
            found.append(value)
        return next(number for number, x in enumerate(found) if x is value)
    if kind in {list, tuple, LabelledList, LabelledTuple, frozenset}:
        new = kind([naive(item, found) for item in value])
        for name, attribute in getattr(value, "__dict__", {}).items():
            setattr(new, name, naive(attribute, found))
        return new
    if kind in {dict, OrderedDict}:
        return kind([(naive(k, found), naive(v, found)) for k, v in value.items()])
    if kind is Pair:
        return Pair(*[naive(item, found) for item in value])
    if kind in RECORDS:
        return kind(naive(value.first, found), naive(value.second, found))
    return value


def labelled(items: Any, label: Any) -> Any:
    items.label = label
    return items


MARKED = st.sampled_from([Marked() for _ in range(5)])
SCALARS = st.none() | st.integers() | st.text(max_size=3) | MARKED
HASHABLE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.builds(FrozenSlottedRecord, inner, inner)
        | st.builds(FrozenAttrsRecord, inner, inner)
        | st.builds(Pair, inner, inner)
        | inner.map(lambda item: frozenset([item]))
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.dictionaries(HASHABLE, inner, max_size=3).map(OrderedDict)
        | st.sampled_from(RECORDS).flatmap(lambda record: st.builds(record, inner, inner))
        | st.builds(labelled, st.lists(inner, max_size=3).map(LabelledList), inner)
        | st.builds(labelled, st.lists(inner, max_size=3).map(LabelledTuple), inner)
        | inner.map(lambda item: [item, (item,)])
    ),
    max_leaves=20,
)


@given(VALUES)
def test_any_nesting_is_filled_as_a_naive_recursion_does(value):
    expected_found: list[Any] = []
    expected = naive(value, expected_found)

    found, template = extract(value, WANTED)
    filled = value if template is None else template.fill(range(len(found)))

    assert found == expected_found
    assert repr(filled) == repr(expected)
    assert filled == expected


@given(VALUES)
def test_any_template_survives_pickling(value):
    found, template = extract(value, WANTED)
    numbers = range(len(found))

    copied: Template | None = pickle.loads(pickle.dumps(template))

    assert (template is None) == (copied is None) == (not found)
    if template is not None and copied is not None:
        assert copied.fill(numbers) == template.fill(numbers)


@given(st.lists(VALUES, max_size=3), st.dictionaries(st.text(max_size=2), VALUES, max_size=3))
def test_any_arguments_are_treated_as_one_value(args, kwargs):
    value = (tuple(args), kwargs)

    found, template = extract_arguments(*value, WANTED)
    expected_found, expected = extract(value, WANTED)

    numbers = range(len(found))
    assert found == expected_found
    assert (template is None) == (expected is None)
    if template is not None and expected is not None:
        assert template.fill(numbers) == expected.fill(numbers)


EMPTY = {
    "list": list,
    "dict": LabelledDict,
    "record": lambda: Record(None),
    "tuple around a list": lambda: ([],),
}


def link(node: Any, links: list[Any]) -> None:
    if isinstance(node, Record):
        node.first = tuple(links)
    elif isinstance(node, dict):
        node.update(enumerate(links))
    else:
        (node[0] if isinstance(node, tuple) else node).extend(links)


@given(st.lists(st.sampled_from([*EMPTY]), min_size=1, max_size=6), st.data())
def test_any_graph_keeps_its_shape(kinds, data):
    nodes = [EMPTY[kind]() for kind in kinds]
    links = st.lists(st.sampled_from(range(len(nodes))).map(nodes.__getitem__) | MARKED, max_size=3)
    for node in nodes:
        link(node, data.draw(links))

    found, template = extract(nodes, WANTED)
    filled = nodes if template is None else template.fill(found)

    assert shape(filled) == shape(nodes)


def shape(value: Any) -> list[Any]:
    """Return a graph's types and links, by number in the order of visit; leaves by identity."""
    numbers: dict[int, int] = {}
    lines: list[Any] = []
    pending = [value]
    while pending:
        node = pending.pop()
        if id(node) in numbers:
            continue
        numbers[id(node)] = len(numbers)
        parts = list(node.values()) if isinstance(node, dict) else []
        parts += list(node) if isinstance(node, (list, tuple)) else []
        parts += [node.first, node.second] if isinstance(node, Record) else []
        lines.append((node, parts))
        pending += parts
    return [
        (type(node), [numbers[id(part)] for part in parts], node if not parts else None)
        for node, parts in lines
    ]
