"""Find marked objects at any depth inside values, and make templates that put other values there.

Searched are lists, tuples, sets, frozensets, dicts (keys and values), instances of dataclasses and
attrs classes, and of all subclasses of these, with their attributes. Anything else is a leaf, of
which nothing but the type is looked at; so is an exception, or what else has a layout of its own.

Nothing recurses, so values may be nested deeper than the recursion limit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from runnerstone._containers import (
    AS_LISTS,
    BUILDERS,
    HASHING,
    IMMUTABLE,
    LEAVES,
    kind_of,
    make_object,
    read,
)

# The parts of an object, as constants with holes or as a run of registers; place and register of
# each hole; what makes the object of the parts and of these options; and the register of the object
# if it is made already, only to be completed, else -1.
_Step = tuple[list[Any] | slice, list[tuple[int, int]], Callable[..., Any], tuple[Any, ...], int]


@attrs.frozen
class Template:
    """A value with numbered slots in place of the found objects; holds none, so it can be pickled.

    It is a program for registers: the first are the slots, and each step adds what it made.
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
            raise ValueError(f"got {len(values)} values for {self._slots} slots; give one for each")
        registers = [*values]
        for constants, holes, make, options, begun in self._steps:
            if type(constants) is slice:
                parts = registers[constants]
            else:
                parts = constants.copy()
                for place, register in holes:
                    parts[place] = registers[register]
            made = make(parts, *options) if begun < 0 else make(parts, *options, registers[begun])
            registers.append(made)
        return registers[self._result]


def extract(
    value: Any, wanted: frozenset[type], repeated: frozenset[type] = frozenset()
) -> tuple[list[Any], Template | None]:
    """Return the found objects and the template of the value; None if it stays what it is.

    Each object is found once, by identity, in the order of the first visit. A container with none
    below it stays what it is, a constant, unless it is to be rebuilt as another type.

    Args:
        wanted: The exact types to find. What is inside such an object is not searched.
        repeated: Those of them of which an object is found in each place where it is.
    """
    if type(value) in wanted:
        return [value], Template(1, (), 0)
    search = _Search(wanted, repeated)
    search.walk(value)
    return search.found, search.template() if search.found or search.converts else None


def extract_arguments(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], wanted: frozenset[type]
) -> tuple[list[Any], Template | None]:
    """Return what `extract` returns for `(args, kwargs)`, sooner if the arguments are simple."""
    parts = [*args, *kwargs.values()] if kwargs else [*args]
    for part in parts:
        if type(part) not in LEAVES:
            break
    else:
        return [], None
    found: list[Any] = []
    slots: dict[int, int] = {}
    holes = []
    for place, part in enumerate(parts):
        cls = type(part)
        if cls in wanted:
            slot = slots.setdefault(id(part), len(found))
            if slot == len(found):
                found.append(part)
            holes.append((place, slot))
            parts[place] = None
        elif cls in AS_LISTS or (
            cls not in LEAVES and not LEAVES.issuperset(map(type, read(part)[0]))
        ):
            return extract((args, {**kwargs}), wanted)
    if not found:
        return [], None
    step = (parts, holes, _make_arguments, (len(args), tuple(kwargs)), -1)
    return found, Template(len(found), (step,), len(found))


@attrs.define(eq=False)
class _Node:
    """A container in which something may be found.

    Its parts are its items, as many as `size` says, and the values of the attributes `names`.
    """

    cls: type
    base: Any
    parts: list[Any] | slice
    size: int
    names: tuple[str, ...]
    searched: set[type]
    remaining: Iterator[tuple[int, Any]]
    holes: list[tuple[int, int]] = attrs.Factory(list)  # place, slot
    children: list[tuple[int, "_Node"]] = attrs.Factory(list)  # place, node
    register: int = -1
    is_dirty: bool = False  # a found object, or what is rebuilt as another type, is below it
    is_cyclic: bool = True  # it is on a cycle or above one, or this is not known yet


class _Search:
    """One walk through a value, and the template that comes of it."""

    def __init__(self, wanted: frozenset[type], repeated: frozenset[type]) -> None:
        self.found: list[Any] = []
        self.converts = False  # whether a container is to be rebuilt, though nothing is found in it
        self._wanted = wanted
        self._repeated = repeated
        self._slots: dict[int, int] = {}  # by identity
        self._seen: dict[int, _Node | None] = {}  # by identity
        self._postorder: list[_Node] = []
        self._steps: list[_Step] = []

    def walk(self, value: Any) -> None:
        """Find the objects and the nodes around them."""
        root = self._enter(value)
        path = [root] if root else []
        while path:
            node = path[-1]
            for place, part in node.remaining:
                if type(part) in self._wanted:
                    slot = len(self.found)
                    if type(part) not in self._repeated:
                        slot = self._slots.setdefault(id(part), slot)
                    if slot == len(self.found):
                        self.found.append(part)
                    node.holes.append((place, slot))
                elif type(part) in node.searched:
                    is_new = id(part) not in self._seen
                    child = self._enter(part) if is_new else self._seen[id(part)]
                    if child:
                        node.children.append((place, child))
                    if child and is_new:
                        path.append(child)
                        break
            else:
                self._postorder.append(path.pop())

    def _enter(self, value: Any) -> _Node | None:
        """Return a new node for the container, or None if nothing can be found in it."""
        parts, size, names = read(value)
        types = {*map(type, parts)}
        searched = {t for t in types - LEAVES if t in self._wanted or kind_of(t).base}
        self._seen[id(value)] = None
        if type(value) in AS_LISTS:
            self.converts = True
        elif not searched:
            return None
        base = kind_of(type(value)).base
        node = _Node(type(value), base, parts, size, names, searched, enumerate(parts))
        self._seen[id(value)] = node
        if types <= self._wanted:  # perhaps very many: give them slots without a loop in Python
            run = slice(len(self.found), len(self.found) + len(parts))
            slots = dict(zip(map(id, parts), range(run.start, run.stop), strict=True))
            if len(slots) == len(parts) and slots.keys().isdisjoint(self._slots):
                self._slots.update(slots)
                self.found += parts
                node.parts = run
                node.remaining = iter(())
        return node

    def template(self) -> Template:
        """Write one step for each node, after those below it, and two for some on a cycle.

        What is hashed must be complete: cycles, and what is above them, wait for all else, and the
        sets and dicts among them wait for the rest.
        """
        for node in sorted(self._dirty(), key=lambda x: x.is_cyclic and 1 + (x.base in HASHING)):
            if node.is_cyclic:
                self._begin([child for _, child in node.children])
            if node.register < 0 or node.names or node.base not in IMMUTABLE:
                self._write(node, node.size, node.names)
        return Template(len(self.found), self._steps, self._postorder[-1].register)

    def _dirty(self) -> list[_Node]:
        """Return the nodes to rebuild, in postorder, and cut holes in them."""
        parents: dict[_Node, list[_Node]] = {node: [] for node in self._postorder}
        for node in self._postorder:
            for _, child in node.children:
                parents[child].append(node)
        pending = [
            x for x in self._postorder if x.holes or type(x.parts) is slice or x.cls in AS_LISTS
        ]
        for node in pending:  # and what is added on the way
            if not node.is_dirty:
                node.is_dirty = True
                pending += parents[node]
        dirty = [node for node in self._postorder if node.is_dirty]
        for node in dirty:
            node.children = [(place, child) for place, child in node.children if child.is_dirty]
            node.is_cyclic = any(child.is_cyclic for _, child in node.children)
            if type(node.parts) is list:
                for place, _ in (*node.holes, *node.children):
                    node.parts[place] = None
        return dirty

    def _begin(self, pending: list[_Node]) -> None:
        """Make what is not made yet, with as little in it as can be: it is part of a cycle."""
        while pending:
            node = pending.pop()
            if node.register >= 0:
                continue
            size = node.size if node.base in IMMUTABLE else 0
            items = [child for place, child in node.children if place < size]
            if missing := [item for item in items if item.register < 0]:
                pending += (node, *missing)
            else:
                self._write(node, size, node.names if node.base is object else ())

    def _write(self, node: _Node, size: int, names: tuple[str, ...]) -> None:
        """Add the step that makes or completes a node's object from its parts that exist."""
        made = [(place, child.register) for place, child in node.children if child.register >= 0]
        parts, holes = (node.parts, node.holes + made) if size or names else ([], [])
        if node.cls in BUILDERS and node.register < 0:
            self._steps.append((parts, holes, BUILDERS[node.cls], (), -1))
        else:
            self._steps.append((parts, holes, make_object, (node.cls, size, names), node.register))
        if node.register < 0:
            node.register = len(self.found) + len(self._steps) - 1


def _make_arguments(
    parts: list[Any], size: int, names: tuple[str, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(parts[:size]), dict(zip(names, parts[size:], strict=True))
