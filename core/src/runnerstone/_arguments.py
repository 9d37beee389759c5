"""Find marked objects at any depth inside values, and make templates that put other values there.

Searched are lists, tuples, sets, frozensets, dicts (keys and values), instances of dataclasses and
attrs classes, and of all subclasses of these, with their attributes. Anything else is a leaf, of
which nothing but the type is looked at.

A container is read and rebuilt through its builtin base and its raw attributes: no method of the
user's runs, no `__init__` and no `__setstate__`, only `__hash__` and `__eq__` of what goes into a
set or is a key. Nothing recurses, so values may be nested deeper than the recursion limit.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, ModuleType, NoneType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import attrs

__all__ = ["Template", "extract", "extract_arguments"]

# What goes into a container: a run of registers, or constants and, for each hole among them, its
# place and its register.
_Parts = slice | tuple[list[Any], list[tuple[int, int]]]
_Step = tuple[Callable[..., Any], tuple[Any, ...]]

_LEAVES: frozenset[type] = frozenset(
    {bool, bytearray, bytes, complex, float, int, range, str, type}
    | {BuiltinFunctionType, FunctionType, ModuleType, NoneType}
)
_LAYOUTS = (object, list, tuple, set, frozenset, dict)
_IMMUTABLE = (tuple, frozenset)


@attrs.frozen
class Template:
    """A value with numbered slots in place of the found objects; holds none, so it can be pickled.

    It is a program for registers: at first these are the values for the slots, and each step adds
    what it made.
    """

    _slots: int
    _steps: Sequence[_Step]
    _result: int

    def fill(self, values: Sequence[Any]) -> Any:
        """Return the value with `values[i]` in place of the i-th found object; from any thread.

        Raises:
            ValueError: There is not one value for each found object.
        """
        if len(values) != self._slots:
            raise ValueError(
                f"got {len(values)} values for a template of {self._slots} slots; "
                "give one for each object that was found"
            )
        registers = [*values]
        for operation, operands in self._steps:
            registers.append(operation(registers, *operands))
        return registers[self._result]


def extract(value: Any, wanted: frozenset[type]) -> tuple[list[Any], Template | None]:
    """Return the found objects and the template of the value; `([], None)` if none was found.

    Each object is found once, by identity, in the order of the first visit. A container with none
    below it stays what it is, a constant.

    Args:
        wanted: The exact types to find. What is inside such an object is not searched.
    """
    cls = type(value)
    if cls in wanted:
        return [value], Template(1, (), 0)
    if cls in _LEAVES or _kind_of(cls) is _LEAF:
        return [], None
    search = _Search(wanted)
    search.walk(value)
    return search.found, search.template() if search.found else None


def extract_arguments(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], wanted: frozenset[type]
) -> tuple[list[Any], Template | None]:
    """Return what `extract` returns for `(args, kwargs)`, sooner if the arguments are simple."""
    for value in args:
        if type(value) not in _LEAVES:
            break
    else:
        if not kwargs:
            return [], None
    parts = [*args, *kwargs.values()]
    found: list[Any] = []
    slots: dict[int, int] = {}
    holes = []
    for place, part in enumerate(parts):
        cls = type(part)
        if cls in _LEAVES:
            continue
        if cls in wanted:
            slot = slots.setdefault(id(part), len(found))
            if slot == len(found):
                found.append(part)
            holes.append((place, slot))
        elif _kind_of(cls) is not _LEAF and not _LEAVES.issuperset(map(type, _read(part)[0])):
            return extract((args, {**kwargs}), wanted)
    if not found:
        return [], None
    for place, _ in holes:
        parts[place] = None
    step = (_make_arguments, ((parts, holes), len(args), tuple(kwargs)))
    return found, Template(len(found), (step,), len(found))


class _Kind(NamedTuple):
    """How instances of a type are read and rebuilt. Must not refer to the type: that would leak."""

    base: Any
    has_dict: bool
    slots: tuple[str, ...]


_LEAF = _Kind(None, has_dict=False, slots=())
_kinds: WeakKeyDictionary[type, _Kind] = WeakKeyDictionary()


def _kind_of(cls: type) -> _Kind:
    try:
        return _kinds[cls]
    except KeyError:
        kind = _kinds[cls] = _classify(cls)
        return kind


def _classify(cls: type) -> _Kind:
    spaces = {ancestor: vars(ancestor) for ancestor in cls.__mro__}
    # The `__new__` that is written in C decides the memory layout; others cannot be rebuilt.
    base = next(c for c in spaces if type(spaces[c].get("__new__")) is BuiltinFunctionType)
    has_fields = any(
        "__dataclass_fields__" in space or "__attrs_attrs__" in space for space in spaces.values()
    )
    if base not in _LAYOUTS or (base is object and not has_fields):
        return _LEAF
    slots = dict.fromkeys(
        name
        for ancestor, space in spaces.items()
        if "__slots__" in space or ancestor is defaultdict  # the factory is a slot of its own
        for name, member in space.items()
        if type(member) is MemberDescriptorType
    )
    return _Kind(
        OrderedDict if OrderedDict in spaces else base, cls.__dictoffset__ != 0, tuple(slots)
    )


def _read(value: Any) -> tuple[list[Any], int, tuple[str, ...]]:
    """Return a container's items and its attributes' values, how many are items, and the names."""
    base, has_dict, slots = _kind_of(type(value))
    if base is object:
        items = []
    elif issubclass(base, dict):
        items = [*chain.from_iterable(base.items(value))]
    else:
        items = [*base.__iter__(value)]
    if not has_dict and not slots:
        return items, len(items), ()
    attributes = {**object.__getattribute__(value, "__dict__")} if has_dict else {}
    for name in slots:
        with suppress(AttributeError):
            attributes[name] = object.__getattribute__(value, name)
    if "_attrs_cached_hash" in attributes:
        attributes["_attrs_cached_hash"] = None  # the rebuilt object has another
    return [*items, *attributes.values()], len(items), tuple(attributes)


@attrs.define(eq=False)
class _Node:
    """A container in which something may be found.

    Nodes know each other by number: a reference cycle would keep the user's values alive.
    """

    cls: type
    base: Any
    parts: list[Any] | slice
    size: int
    names: tuple[str, ...]
    searched: set[type]
    remaining: Iterator[tuple[int, Any]]
    holes: list[tuple[int, int]] = attrs.Factory(list)  # place, slot
    children: list[tuple[int, int]] = attrs.Factory(list)  # place, number
    parents: list[int] = attrs.Factory(list)
    register: int = -1
    is_settled: bool = False


class _Search:
    """One walk through a value, and the template that comes of it."""

    def __init__(self, wanted: frozenset[type]) -> None:
        self.found: list[Any] = []
        self._wanted = wanted
        self._slots: dict[int, int] = {}  # by identity
        self._nodes: list[_Node] = []
        self._numbers: dict[int, int | None] = {}  # by identity; None: nothing to search there
        self._postorder: list[int] = []
        self._steps: list[_Step] = []

    def walk(self, value: Any) -> None:
        path = [] if self._enter(value) is None else [0]
        while path:
            node = self._nodes[path[-1]]
            for place, part in node.remaining:
                if type(part) not in node.searched:
                    continue
                if type(part) in self._wanted:
                    slot = self._slots.setdefault(id(part), len(self.found))
                    if slot == len(self.found):
                        self.found.append(part)
                    node.holes.append((place, slot))
                    continue
                is_new = id(part) not in self._numbers
                number = self._enter(part) if is_new else self._numbers[id(part)]
                if number is None:
                    continue
                node.children.append((place, number))
                self._nodes[number].parents.append(path[-1])
                if is_new:
                    path.append(number)
                    break
            else:
                self._postorder.append(path.pop())

    def _enter(self, value: Any) -> int | None:
        parts, size, names = _read(value)
        types = {*map(type, parts)}
        searched = {t for t in types - _LEAVES if t in self._wanted or _kind_of(t) is not _LEAF}
        self._numbers[id(value)] = number = len(self._nodes) if searched else None
        if number is not None:
            cls = type(value)
            node = _Node(cls, _kind_of(cls).base, parts, size, names, searched, enumerate(parts))
            if types <= self._wanted:
                node.remaining = iter(())
                self._take_all(node, parts)
            self._nodes.append(node)
        return number

    def _take_all(self, node: _Node, parts: list[Any]) -> None:
        """Give slots to the parts of a node, all of them wanted, without a loop in Python."""
        ids = [*map(id, parts)]
        fresh = dict(zip(ids, parts, strict=True))
        for known in fresh.keys() & self._slots.keys():
            del fresh[known]
        slots = range(len(self.found), len(self.found) + len(fresh))
        self._slots.update(zip(fresh, slots, strict=True))
        self.found += fresh.values()
        if len(fresh) == len(ids):
            node.parts = slice(slots.start, slots.stop)
        else:
            node.holes += enumerate(map(self._slots.__getitem__, ids))

    def template(self) -> Template:
        """Write the steps: one for each node, after those below it, but late for nodes on a cycle.

        Of these and of those above them, what is mutable is made empty first, then the immutable,
        and then they are filled, so that sets and dicts hash what is complete if that is possible.
        """
        late: list[_Node] = []
        for node in self._dirty():
            node.is_settled = all(self._nodes[number].is_settled for _, number in node.children)
            if node.is_settled:
                self._write(node, node.size, node.names)
            else:
                late.append(node)
        for node in late:
            if node.base not in _IMMUTABLE:
                self._write(node, 0, node.names if node.base is object else ())
        for node in late:
            if node.base in _IMMUTABLE:
                self._write_after_items(node)
        for node in sorted(late, key=lambda node: node.base is not object):
            if node.base not in _IMMUTABLE or node.names:
                self._write(node, node.size, node.names)
        return Template(len(self.found), self._steps, self._nodes[0].register)

    def _dirty(self) -> list[_Node]:
        """Return the nodes that have a found object below them, in postorder, with holes cut."""
        nodes = self._nodes
        dirty: set[int] = set()
        pending = [n for n, node in enumerate(nodes) if node.holes or isinstance(node.parts, slice)]
        while pending:
            number = pending.pop()
            if number not in dirty:
                dirty.add(number)
                pending += nodes[number].parents
        for node in map(nodes.__getitem__, dirty):
            node.children = [(place, number) for place, number in node.children if number in dirty]
            if isinstance(node.parts, list):
                for place, _ in chain(node.holes, node.children):
                    node.parts[place] = None
        return [nodes[number] for number in self._postorder if number in dirty]

    def _write_after_items(self, node: _Node) -> None:
        path = [node]
        while path:
            node = path[-1]
            items = (self._nodes[number] for place, number in node.children if place < node.size)
            missing = [item for item in items if item.register < 0]
            if node.register < 0 and missing:
                path += missing
                continue
            if node.register < 0:
                self._write(node, node.size, ())
            path.pop()

    def _write(self, node: _Node, size: int, names: tuple[str, ...]) -> None:
        """Add the step that makes, or continues, a node's object from the parts made so far."""
        parts: _Parts
        if not size and not names:
            parts = [], []
        elif isinstance(node.parts, slice):
            parts = node.parts
        else:
            children = [(place, self._nodes[number].register) for place, number in node.children]
            parts = node.parts, node.holes + [child for child in children if child[1] >= 0]
        if node.register < 0 and node.cls in _BUILDERS:
            step = _make_builtin, (_BUILDERS[node.cls], parts)
        else:
            step = _make_object, (node.register, node.cls, parts, size, names)
        if node.register < 0:
            node.register = len(self.found) + len(self._steps)
        self._steps.append(step)


def _gather(registers: list[Any], parts: _Parts) -> list[Any]:
    if isinstance(parts, slice):
        return registers[parts]
    constants, holes = parts
    gathered = constants.copy()
    for place, register in holes:
        gathered[place] = registers[register]
    return gathered


def _make_arguments(
    registers: list[Any], parts: _Parts, size: int, names: tuple[str, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    values = _gather(registers, parts)
    return tuple(values[:size]), dict(zip(names, values[size:], strict=True))


def _make_builtin(registers: list[Any], build: Callable[[list[Any]], Any], parts: _Parts) -> Any:
    items = _gather(registers, parts)
    return items if build is list else build(items)


def _make_object(
    registers: list[Any], begun: int, cls: type, parts: _Parts, size: int, names: tuple[str, ...]
) -> Any:
    base, has_dict, slots = _kind_of(cls)
    values = _gather(registers, parts)
    items, attributes = values[:size], values[size:]
    if begun >= 0:
        made = registers[begun]
    elif base in _IMMUTABLE:
        made = base.__new__(cls, items)
    else:
        made = base.__new__(cls)
    if base is list:
        list.extend(made, items)
    elif base is set:
        set.update(made, items)
    elif issubclass(base, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            base.__setitem__(made, key, value)
    namespace = object.__getattribute__(made, "__dict__") if has_dict else {}
    for name, value in zip(names, attributes, strict=False):
        if name in slots:
            object.__setattr__(made, name, value)
        else:
            namespace[name] = value
    return made


def _make_dict(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


_BUILDERS: dict[type, Callable[[list[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    dict: _make_dict,
}
