"""Text from a command line, a variable or a table, as a value of an annotated type."""

import collections.abc
import functools
import inspect
import json
import types
import typing
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, time
from enum import Enum
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import cattrs

_TRUE: Final = {"true", "yes", "on"}
_FALSE: Final = {"false", "no", "off"}

# What a JSON array becomes, by the origin of the annotation.
_ARRAYS: Final[dict[Any, Callable[[list[Any]], Any]]] = {
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.MutableSequence: list,
    collections.abc.Sequence: list,
    collections.abc.Set: set,
    frozenset: frozenset,
    list: list,
    set: set,
    tuple: tuple,
}
_UNIONS: Final = (typing.Union, types.UnionType)


def convert(text: str, annotation: Any) -> Any:
    """The value that `text` stands for where `annotation` is expected.

    For `str` the text is the value. For other types it is read as JSON if it is JSON, else as it
    is, and has to be a value of the type, without loss:

    - ``int`` takes no fraction; ``bool`` takes true, yes, on, 1 and false, no, off, 0, in any case;
    - ``None``, where the annotation allows it, is none or null, in any case;
    - dates and times are ISO 8601; an enum is given by a member's value or name;
    - sequences, sets, tables, data classes and attrs classes are JSON arrays and objects;
    - in a union, JSON decides between its members: for ``int | str``, ``5`` is the number and
      ``"5"`` the text. Else the first member that fits is taken, and `str` last.

    Args:
        annotation: A type. ``Any``, `object` and ``inspect.Parameter.empty`` take everything.

    Raises:
        ValueError: If the text does not fit; the message says what is expected.
    """
    if annotation is str:
        return text
    if annotation is inspect.Parameter.empty or annotation is object:
        annotation = Any
    if _takes_none(annotation) and text.casefold() in {"none", "null"}:
        return None
    error: Exception | None = None
    for candidate in (*_json(text), text):
        try:
            return _converter().structure(candidate, annotation)
        except Exception as refusal:  # noqa: BLE001  # a class of the user's may raise anything
            error = refusal
    raise ValueError(f"{_expected(annotation)} is expected") from error


def written(annotation: Any) -> str:
    """The annotation as it is written in Python."""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _expected(annotation: Any) -> str:
    text = written(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return f"{text} ({', '.join(annotation.__members__)})"
    origin = _origin(annotation)
    return f"{text}, in JSON," if origin in _ARRAYS or origin is dict else text


def _json(text: str) -> list[Any]:
    """What the text is as JSON, in a list; an empty list if it is not JSON."""
    try:
        return [json.loads(text, parse_constant=_refuse)]
    except (ValueError, RecursionError):
        return []


def _refuse(value: object) -> Any:
    raise ValueError(value)


def _origin(annotation: Any) -> Any:
    """`list` for ``list[int]``; the annotation itself where it has no parts."""
    origin: Any = typing.get_origin(annotation)
    return annotation if origin is None else origin


def _takes_none(annotation: Any) -> bool:
    return _origin(annotation) in _UNIONS and types.NoneType in typing.get_args(annotation)


@functools.cache
def _converter() -> "cattrs.Converter":
    import cattrs  # heavy, and needed only where text becomes a value

    converter = cattrs.Converter(detailed_validation=False, forbid_extra_keys=True)
    for kind, hook in _SCALARS.items():
        converter.register_structure_hook(kind, functools.partial(_to_scalar, hook))
    converter.register_structure_hook_func(
        lambda kind: _origin(kind) in _ARRAYS,
        functools.partial(_to_array, converter),
    )
    converter.register_structure_hook_func(
        lambda kind: _origin(kind) in _UNIONS,
        functools.partial(_to_union, converter),
    )
    return converter


def _to_scalar(hook: Callable[[Any, Any], Any], value: Any, kind: Any) -> Any:
    """Convert by a hook for `kind` or a base of it, which for some enums is `str` or `int`."""
    return _to_enum(value, kind) if issubclass(kind, Enum) else hook(value, kind)


def _to_enum(value: Any, kind: type[Enum]) -> Enum:
    try:
        return kind(value)
    except ValueError:
        return kind[value]


def _to_bool(value: Any, _kind: type[bool]) -> bool:
    if isinstance(value, str) and value.casefold() in _TRUE | _FALSE:
        return value.casefold() in _TRUE
    return bool(value) if value in (0, 1) else _refuse(value)


def _to_int(value: Any, kind: type[int]) -> int:
    return kind(value) if type(value) in {int, str} else _refuse(value)


def _to_float(value: Any, kind: type[float]) -> float:
    return kind(value) if type(value) in {int, float, str} else _refuse(value)


def _to_text(value: Any, kind: type[str] | type[Path]) -> str | Path:
    return kind(value) if isinstance(value, str) else _refuse(value)


_SCALARS: Final[dict[type, Callable[[Any, Any], Any]]] = {
    bool: _to_bool,
    bytes: lambda value, kind: kind(value, "utf-8"),
    date: lambda value, kind: kind.fromisoformat(value),
    datetime: lambda value, kind: kind.fromisoformat(value),
    Enum: _to_enum,
    float: _to_float,
    int: _to_int,
    Path: _to_text,
    str: _to_text,
    time: lambda value, kind: kind.fromisoformat(value),
}


def _to_array(converter: "cattrs.Converter", value: Any, kind: Any) -> Any:
    if not isinstance(value, list):
        _refuse(value)
    make = _ARRAYS[_origin(kind)]
    kinds = typing.get_args(kind)
    if make is tuple and kinds and kinds[-1] is not ...:
        pairs = zip(value, kinds, strict=True)
    else:
        pairs = zip(value, repeat(kinds[0] if kinds else Any), strict=False)
    return make([converter.structure(part, kind) for part, kind in pairs])


def _to_union(converter: "cattrs.Converter", value: Any, union: Any) -> Any:
    members = typing.get_args(union)
    if type(value) in members and type(value) is not str:
        return value
    may_stay_text = isinstance(value, str) and str in members
    for member in members:
        if may_stay_text and member in {bool, float, int, str}:
            continue
        with suppress(Exception):
            return converter.structure(value, member)
    return value if may_stay_text else _refuse(value)
