import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, Literal, NewType, Optional

import attrs
import pytest

from runnerstone._conversions import convert


class Colour(Enum):
    RED = 1
    GREEN = 2


class Size(StrEnum):
    SMALL = "small"


@attrs.frozen
class Box:
    size: Size
    tags: list[str] = attrs.field(factory=list)


@dataclass
class Point:
    x: int
    y: float = 0.0


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("5", str, "5"),
        ('"5"', str, '"5"'),
        ("", str, ""),
        ("5", int, 5),
        ("-5", int, -5),
        ("1_000", int, 1000),
        ("007", int, 7),
        ("5", float, 5.0),
        ("1e3", float, 1000.0),
        (".5", float, 0.5),
        ("inf", float, float("inf")),
        ("true", bool, True),
        ("Yes", bool, True),
        ("ON", bool, True),
        ("1", bool, True),
        ("False", bool, False),
        ("no", bool, False),
        ("off", bool, False),
        ("0", bool, False),
        ("/srv/data", Path, Path("/srv/data")),
        ("5", Path, Path("5")),
        ("null", Path, Path("null")),
        ("2026-01-02", date, date(2026, 1, 2)),
        ("12:30", time, time(12, 30)),
        ("2026-01-02T03:04:05Z", datetime, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("text", bytes, b"text"),
        ("2", Colour, Colour.GREEN),
        ("GREEN", Colour, Colour.GREEN),
        ("small", Size, Size.SMALL),
        ("SMALL", Size, Size.SMALL),
        ("fast", Literal["fast", "safe"], "fast"),
        ("2", Literal[1, 2], 2),
        ("5", Literal["5"], "5"),
        ("5", NewType("Count", int), 5),
    ],
)
def test_text_becomes_a_value_of_a_simple_type(text, annotation, value):
    converted = convert(text, annotation)

    assert (type(converted), converted) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("none", int | None, None),
        ("None", Optional[int], None),  # noqa: UP045  # as it is written in older code
        ("null", str | None, None),
        ("5", int | None, 5),
        ("5", str | None, "5"),
        ("5", int | str, 5),
        ("5", str | int, 5),
        ('"5"', int | str, "5"),
        ("five", int | str, "five"),
        ("5", int | float, 5),
        ("5.5", int | float, 5.5),
        ("1", bool | int, 1),
        ("true", int | bool, True),
        ("2026-01-02", date | str, date(2026, 1, 2)),
        ("soon", date | str, "soon"),
        ("auto", Literal["auto"] | int, "auto"),
        ("[1]", int | list[int], [1]),
        ('["5", 5]', list[int | str], ["5", 5]),
    ],
)
def test_text_becomes_a_value_of_a_member_of_a_union(text, annotation, value):
    converted = convert(text, annotation)

    assert (type(converted), converted) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ('["a", "b"]', list[str], ["a", "b"]),
        ("[1, 2]", list, [1, 2]),
        ("[1, 2]", tuple[int, ...], (1, 2)),
        ('[1, "a"]', tuple[int, str], (1, "a")),
        ("[1, 1]", set[int], {1}),
        ("[1]", frozenset[int], frozenset({1})),
        ('["a"]', Sequence[Path], [Path("a")]),
        ('["a"]', Iterable[Path], [Path("a")]),
        ('{"a": 1}', dict[str, int], {"a": 1}),
        ('{"1": [2]}', Mapping[int, list[float]], {1: [2.0]}),
        ('{"a": [null]}', dict, {"a": [None]}),
        ('{"size": "small", "tags": ["a"]}', Box, Box(Size.SMALL, ["a"])),
        ('{"x": 1}', Point, Point(1)),
        ('[{"x": 1, "y": 2.5}]', list[Point], [Point(1, 2.5)]),
    ],
)
def test_json_becomes_a_container(text, annotation, value):
    converted = convert(text, annotation)

    assert (type(converted), converted) == (type(value), value)


@pytest.mark.parametrize("annotation", [Any, object, inspect.Parameter.empty])
@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("[1]", [1]), ("null", None), ("none", "none"), ("NaN", "NaN"), ("a b", "a b")],
)
def test_text_without_a_type_is_json_or_itself(text, value, annotation):
    assert convert(text, annotation) == value


@pytest.mark.parametrize(
    ("text", "annotation", "expected"),
    [
        ("3.7", int, "int is expected"),
        ("3.0", int, "int is expected"),
        ("true", int, "int is expected"),
        ("abc", int, "int is expected"),
        ("", int, "int is expected"),
        ("none", int, "int is expected"),
        ("true", float, "float is expected"),
        ("2", bool, "bool is expected"),
        ("maybe", bool, "bool is expected"),
        ("abc", int | None, r"int \| None is expected"),
        ("tomorrow", date, r"datetime\.date is expected"),
        ("BLUE", Colour, r"Colour \(RED, GREEN\) is expected"),
        ("slow", Literal["fast"], r"Literal\['fast'\] is expected"),
        ("abc", list[str], r"list\[str\], in JSON, is expected"),
        ('{"a": "bc"}', dict[str, list[str]], "in JSON, is expected"),
        ("[1]", list[str], "in JSON, is expected"),
        ("[1, 2]", tuple[int], "in JSON, is expected"),
        ('{"x": 1, "z": 2}', Point, "Point is expected"),
        ("5", complex, "complex is expected"),
    ],
)
def test_text_that_does_not_fit_is_refused_with_what_is_expected(text, annotation, expected):
    with pytest.raises(ValueError, match=expected):
        convert(text, annotation)


def test_endless_nesting_is_no_json():
    text = "[" * 100_000

    assert convert(text, Any) == text
