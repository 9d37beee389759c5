"""Pickling for other processes: once, out of band, and with errors that name the culprit."""

import inspect
import pickle
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FunctionType
from typing import Any

from runnerstone._arguments import extract
from runnerstone.contents import PROTOCOL, Pickled, buffer_views
from runnerstone.errors import UnpicklableError


def dump(value: Any, *, snapshot: bool = False) -> Pickled:
    """Pickle `value` for another process.

    The standard pickler goes first because it is the faster one by far. cloudpickle follows where
    it fails, and where what it made names a module that the other process lacks.

    Args:
        value: What is pickled.
        snapshot: Copy what could be changed before it is sent. If not, the buffers are the value's
            own memory.

    Raises:
        Exception: Whatever cloudpickle, or a ``__reduce__`` of the user's, raises.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = _dump(value, buffers)
    views = [buffer.raw() for buffer in buffers]
    if snapshot:
        views = [view if view.readonly else memoryview(bytes(view)) for view in views]
    return Pickled(head, buffer_views(views))


def pack(value: Any) -> Pickled:
    """Pickle what consists of runnerstone's own objects; what is pickled in it stays as it is."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=PROTOCOL, buffer_callback=buffers.append)
    return Pickled(head, buffer_views([buffer.raw() for buffer in buffers]))


def dump_in_band(value: Any) -> bytes:
    """Do the same with the buffers in the pickle."""
    return _dump(value, None)


def _dump(value: Any, buffers: list[pickle.PickleBuffer] | None) -> bytes:
    keep = None if buffers is None else buffers.append
    try:
        head = pickle.dumps(value, protocol=PROTOCOL, buffer_callback=keep)
    except Exception:  # noqa: BLE001  # cloudpickle can do more; if it cannot either, its error counts
        head = b""
    if not head or _names_a_module_by_value(head):
        import cloudpickle  # heavy, and most values do not need it

        if buffers is not None:
            buffers.clear()
        head = cloudpickle.dumps(value, protocol=PROTOCOL, buffer_callback=keep)
    return head


def _names_a_module_by_value(head: bytes) -> bool:
    """Whether a pickle may name a module whose functions and classes have to travel themselves."""
    if b"__main__" in head:
        return True
    if "cloudpickle" not in sys.modules:
        return False
    import cloudpickle  # waits while another thread is importing it

    names = cloudpickle.list_registry_pickle_by_value()
    return bool(names) and any(name.encode() in head for name in names)


def dump_arguments(
    arguments: Any, parts: Callable[[], Mapping[str, Any]], slots: frozenset[type]
) -> Pickled:
    """Pickle a call's arguments.

    Args:
        arguments: What is pickled.
        parts: Gives the arguments by parameter name, to tell which one is at fault.
        slots: Types of the objects in them that will not travel, having been replaced.

    Raises:
        UnpicklableError: Naming the argument, the path inside it, its type and the reason.
    """
    try:
        return dump(arguments, snapshot=True)
    except Exception as error:
        for name, value in parts().items():
            if culprit := find_unpicklable(value, f"argument {name!r}", slots):
                raise UnpicklableError(culprit) from error
        raise UnpicklableError(f"its arguments cannot be pickled: {safe_repr(error)}") from error


def find_unpicklable(value: Any, path: str, slots: frozenset[type] = frozenset()) -> str | None:
    """Say which innermost part of `value` cannot be pickled, and why; None if all of it can.

    Args:
        path: How the message calls `value`.
        slots: Types of objects that are replaced before pickling.
    """
    reason = _refusal(value, slots)
    if reason is None:
        return None
    seen: set[int] = set()
    while True:
        seen.add(id(value))
        for step, part in _parts(value):
            if id(part) not in seen and (inner := _refusal(part, slots)) is not None:
                value, path, reason = part, path + step, inner
                break
        else:
            kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            return f"{path}, of type {kind}, cannot be pickled: {reason}"


def _refusal(value: Any, slots: frozenset[type]) -> str | None:
    _, template = extract(value, slots)
    try:
        dump(value if template is None else template)
    except Exception as error:  # noqa: BLE001  # the user's __reduce__ may raise anything
        return f"{type(error).__name__}: {error}"
    return None


def _parts(value: Any) -> list[tuple[str, Any]]:
    """The parts of a value, each after the text that leads from the value to it."""
    if isinstance(value, Mapping):
        return [(f"[{safe_repr(key)}]", part) for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return [(f" (its element {safe_repr(part)})", part) for part in value]
    attributes = {**getattr(value, "__dict__", {})}
    for cls in type(value).__mro__:
        for name in vars(cls).get("__slots__", ()):
            if hasattr(value, name) and name != "__weakref__":
                attributes[name] = getattr(value, name)
    parts = [(f".{name}", part) for name, part in attributes.items()]
    if isinstance(value, FunctionType):
        with suppress(ValueError):  # a variable of it may not be assigned yet
            variables = inspect.getclosurevars(value)
            used = {**variables.globals, **variables.nonlocals}
            parts += [(f" (its variable {name!r})", part) for name, part in used.items()]
    return parts


def safe_repr(value: object) -> str:
    """The `repr`, or what can be said where the user's ``__repr__`` raises."""
    try:
        return repr(value)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the user's __repr__ may raise anything
        return f"<{type(value).__qualname__} whose repr raised {type(error).__qualname__}>"
