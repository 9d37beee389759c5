"""How containers are read, and rebuilt with other parts.

A container is read and rebuilt through its builtin base and its raw attributes: no method of the
user's runs, no `__init__` and no `__setstate__`, only `__hash__` and `__eq__` of what goes into a
set or is a key.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from types import BuiltinFunctionType, MemberDescriptorType, NoneType
from typing import Any, Final, NamedTuple, TypeVar
from weakref import ref

L = TypeVar("L", bound=list[Any])

LEAVES: Final[frozenset[type]] = frozenset({bool, bytes, complex, float, int, str, type, NoneType})
IMMUTABLE: Final = (tuple, frozenset)
HASHING: Final = (set, dict, OrderedDict)


class Kind(NamedTuple):
    """How instances of a type are read and rebuilt. Must not refer to the type: that would leak."""

    base: Any  # None for a leaf
    has_dict: bool
    slots: tuple[str, ...]


_kinds: dict[ref[type], Kind] = {}  # takes half the time of a WeakKeyDictionary


def kind_of(cls: type) -> Kind:
    """How instances of `cls` are read and rebuilt."""
    kind = _kinds.get(ref(cls))
    if kind is None:
        kind = _kinds[ref(cls, _kinds.__delitem__)] = _classify(cls)
    return kind


def _classify(cls: type) -> Kind:
    spaces = {ancestor: vars(ancestor) for ancestor in cls.__mro__}
    # The `__new__` that is written in C decides the memory layout; others cannot be rebuilt.
    base = next(c for c in spaces if type(spaces[c].get("__new__")) is BuiltinFunctionType)
    has_fields = not {"__dataclass_fields__", "__attrs_attrs__"}.isdisjoint(chain(*spaces.values()))
    if base not in {list, tuple, set, frozenset, dict} and not (base is object and has_fields):
        return Kind(None, has_dict=False, slots=())
    slots = dict.fromkeys(
        name
        for ancestor, space in spaces.items()
        if "__slots__" in space or ancestor is defaultdict  # the factory is a slot of its own
        for name, member in space.items()
        if type(member) is MemberDescriptorType
    )
    base = OrderedDict if OrderedDict in spaces else base
    return Kind(base, cls.__dictoffset__ != 0, tuple(slots))


def read(value: Any) -> tuple[list[Any], int, tuple[str, ...]]:
    """Return a container's items and its attributes' values, how many are items, and the names."""
    base, has_dict, slots = kind_of(type(value))
    if base is None:
        return [], 0, ()
    if issubclass(base, dict):
        items = [*chain.from_iterable(base.items(value))]
    else:
        items = [] if base is object else [*base.__iter__(value)]
    if not has_dict and not slots:
        return items, len(items), ()
    attributes = {**object.__getattribute__(value, "__dict__")} if has_dict else {}
    for name in slots:
        with suppress(AttributeError):
            attributes[name] = object.__getattribute__(value, name)
    if "_attrs_cached_hash" in attributes:
        attributes["_attrs_cached_hash"] = None  # the rebuilt object has another
    return [*items, *attributes.values()], len(items), tuple(attributes)


def _make_dict(parts: list[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


BUILDERS: Final[dict[type, Callable[[list[Any]], Any]]] = {
    **{cls: cls for cls in (list, tuple, set, frozenset)},
    dict: _make_dict,
}


# Subclasses of list that tasks are to get as plain lists.
AS_LISTS: Final[set[type]] = set()


def rebuilt_as_list(cls: type[L]) -> type[L]:
    """Have the instances of a subclass of list, without attributes, rebuilt as plain lists."""
    BUILDERS[cls] = list
    AS_LISTS.add(cls)
    return cls


def make_object(
    parts: list[Any], cls: Any, size: int, names: tuple[str, ...], begun: Any = None
) -> Any:
    """Make an object from its items and attributes, or give them to one that is begun."""
    base, has_dict, slots = kind_of(cls)
    items = parts[:size]
    made = begun
    if begun is None:
        made = base.__new__(cls, items) if base in IMMUTABLE else base.__new__(cls)
    if base is list:
        list.extend(made, items)
    elif base is set:
        set.update(made, items)
    elif issubclass(base, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            base.__setitem__(made, key, value)
    namespace = object.__getattribute__(made, "__dict__") if has_dict else {}
    for name, value in zip(names, parts[size:], strict=False):
        if name in slots:
            object.__setattr__(made, name, value)
        else:
            namespace[name] = value
    return made
