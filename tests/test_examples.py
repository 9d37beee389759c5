import importlib
import pickle
import re
import runpy
import sysconfig
from itertools import permutations
from pathlib import Path

import pytest

from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

EXAMPLES = Path(__file__).parents[1] / "examples"

SHAPES = b"""\
import os, sys
import os.path
from collections.abc import Iterable
from . import colours


class Shape:
    class Corner:
        async def wait(self):
            def poll():
                return 1

            return poll()

    @property
    def area(self):
        return 0


def area(): pass
"""

FILES = {
    "shapes.py": SHAPES,
    "geometry/__init__.py": b"",
    "geometry/plane.py": b"import math\n\ndef area():\n    return math.pi\n",
    "geometry/solid/__init__.py": b"import sys\r\nfrom ..plane import area\r\n",
    "geometry/solid/cube.py": b"if True:\n    import math as m\nelse:\n    import sys",
    "latin_with_cookie.py": "# coding: latin-1\nname = 'café'\n".encode("latin-1"),
    "latin_without_cookie.py": "\nname = 'café'\n".encode("latin-1"),
    "no_such_coding.py": b"# coding: uft-8\n",
    "null_byte.py": b"name = 'nul'\0\n",
    "unclosed.py": b"\n\nname = (1,\n",
    "lib/site-packages/installed.py": b"import installed",
    "lib/dist-packages/installed/__init__.py": b"import installed",
    "folder.py/notes.txt": b"import notes",
}

CENSUS = """\
Largest modules, in lines
         20  shapes
          4  geometry.plane
          4  geometry.solid.cube
          2  geometry.solid
          2  latin_with_cookie
          0  geometry

Longest functions, in lines
          5  shapes:Shape.Corner.wait
          2  geometry.plane:area
          2  shapes:Shape.Corner.wait.<locals>.poll
          2  shapes:Shape.area
          1  shapes:area

Most imported modules, in import statements
          3  sys
          2  math
          2  os
          1  collections

Totals
         10  files
          4  of them did not parse
         32  lines
          5  functions and methods
          2  classes

Did not parse
  latin_without_cookie.py:2: (unicode error) 'utf-8' codec can't decode byte 0xe9 in position 3:
             unexpected end of data
  no_such_coding.py: unknown encoding: uft-8
  null_byte.py: source code string cannot contain null bytes
  unclosed.py:3: '(' was never closed
"""


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("source_census")


@pytest.fixture
def folder(tmp_path):
    for file, content in FILES.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


@pytest.fixture(params=[SequentialTaskRunner, ConcurrentTaskRunner])
def census(request, example):
    return example.census.with_options(task_runner=request.param())


def test_census_of_a_folder_is_the_same_on_every_runner(census, folder, capsys):
    census(folder)

    assert capsys.readouterr().out == CENSUS


def test_top_shortens_the_rankings_and_nothing_else(census, folder, capsys):
    census(folder, top=2)

    lines = capsys.readouterr().out.splitlines()
    assert lines[:11] == [
        "Largest modules, in lines",
        "         20  shapes",
        "          4  geometry.plane",
        "",
        "Longest functions, in lines",
        "          5  shapes:Shape.Corner.wait",
        "          2  geometry.plane:area",
        "",
        "Most imported modules, in import statements",
        "          3  sys",
        "          2  math",
    ]
    assert lines[11:] == CENSUS[CENSUS.index("\nTotals") :].splitlines()


def test_files_beyond_one_merge_are_all_counted(census, example, tmp_path, capsys):
    for number in range(2 * example.FAN_IN + 1):
        (tmp_path / f"module_{number:03}.py").write_bytes(b"import sys\n")

    census(tmp_path, top=1)

    assert capsys.readouterr().out == (
        "Largest modules, in lines\n          1  module_000\n\n"
        "Most imported modules, in import statements\n        129  sys\n\n"
        "Totals\n        129  files\n          0  of them did not parse\n"
        "        129  lines\n          0  functions and methods\n          0  classes\n"
    )


def test_census_of_an_empty_folder_has_totals_only(census, tmp_path, capsys):
    census(tmp_path)

    assert capsys.readouterr().out == (
        "Totals\n          0  files\n          0  of them did not parse\n"
        "          0  lines\n          0  functions and methods\n          0  classes\n"
    )


def test_census_of_broken_files_says_why_each_is(census, tmp_path, capsys):
    (tmp_path / "nul.py").write_bytes(b"\0")
    (tmp_path / "half.py").write_bytes(b"def half(")

    census(tmp_path)

    assert capsys.readouterr().out == (
        "Totals\n          2  files\n          2  of them did not parse\n"
        "          0  lines\n          0  functions and methods\n          0  classes\n\n"
        "Did not parse\n"
        "  half.py:1: '(' was never closed\n"
        "  nul.py: source code string cannot contain null bytes\n"
    )


def test_census_of_a_missing_folder_is_an_error_that_names_it(census, tmp_path):
    with pytest.raises(NotADirectoryError, match=r"no folder '.*nowhere'; name one: --param"):
        census(tmp_path / "nowhere")


def test_script_takes_the_census_of_the_standard_library(folder, capsys, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", {"stdlib": str(folder)}.__getitem__)

    runpy.run_path(str(EXAMPLES / "source_census.py"), run_name="__main__")

    assert capsys.readouterr().out == CENSUS


def test_parse_keeps_the_longest_functions_only(example, folder):
    tally = example.parse.fn(folder, "shapes.py", 1)

    assert tally.functions == 4
    assert tally.longest_functions == (example.Entry(5, "shapes:Shape.Corner.wait"),)


def test_parse_counts_a_file_that_the_parser_warns_of(example, tmp_path):
    (tmp_path / "escape.py").write_bytes(rb"name = '\d'")

    tally = example.parse.fn(tmp_path, "escape.py", 1)  # where warnings are errors

    assert (tally.lines, tally.unparsed) == (1, ())


@pytest.mark.parametrize("source", [b"x = " + b"-" * 100_000 + b"1", b"x = a" + b".b" * 100_000])
def test_parse_survives_a_file_too_deep_for_the_parser(example, tmp_path, source):
    (tmp_path / "deep.py").write_bytes(source)

    tally = example.parse.fn(tmp_path, "deep.py", 1)

    assert tally.files == 1
    assert re.fullmatch(r"deep\.py: \w.+", *tally.unparsed)


def test_parse_survives_a_file_that_is_gone(example, tmp_path):
    tally = example.parse.fn(tmp_path, "gone.py", 1)

    assert "No such file" in tally.unparsed[0]


def test_merge_gives_one_sum_in_any_order_and_grouping(example, folder):
    files = ("geometry/plane.py", "null_byte.py", "shapes.py", "unclosed.py")
    tallies = [example.parse.fn(folder, file, 2) for file in files]

    sums = [
        example.merge.fn([first, example.merge.fn(others, 2)], 2)
        for first, *others in permutations(tallies)
    ]

    assert sums == [example.merge.fn(tallies, 2)] * 24
    assert [entry.name for entry in sums[0].largest_modules] == ["shapes", "geometry.plane"]
    assert [line.partition(":")[0] for line in sums[0].unparsed] == ["null_byte.py", "unclosed.py"]


def test_tallies_travel_between_processes(example, folder):
    tally = example.parse.fn(folder, "shapes.py", 10)

    assert pickle.loads(pickle.dumps(tally)) == tally


def test_table_is_100_columns_wide_at_most_and_drops_nothing(example):
    module, file = "m" * 150, "f" * 90 + ".py"

    text = example.table(
        example.Tally(
            largest_modules=(example.Entry(1, module),), unparsed=(f"{file}:1: " + "why " * 20,)
        ),
        10,
    )

    assert max(map(len, text.splitlines())) == 100
    assert text.count("m" * 50) == 2
    assert text.count("why") == 20
