import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

UNITS = {
    "noop_concurrent": "us/task",
    "noop_sequential": "us/task",
    "chain_concurrent": "us/link",
    "fan_in_concurrent": "us/edge",
    "empty_flow_run": "us/run",
    "runner_by_name": "us/run",
    "import_runnerstone": "ms more",
}


@pytest.fixture(scope="module")
def printed():
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


@pytest.fixture
def figures(printed):
    return [json.loads(line) for line in printed.stdout.splitlines()]


def test_quick_form_prints_each_figure_once_with_its_unit(figures):
    printed = [(figure["name"], figure["unit"]) for figure in figures]

    assert printed[: len(UNITS)] == [*UNITS.items()]  # those of installed plugins follow


def test_quick_form_logs_nothing(printed):
    assert not printed.stderr


@pytest.mark.parametrize("name", UNITS)
def test_ratio_of_a_figure_is_between_its_extremes(figures, name):
    figure = next(figure for figure in figures if figure["name"] == name)

    assert 0 < figure["ratio_min"] <= figure["ratio"] <= figure["ratio_max"]
    assert figure["reference"] > 0
    assert figure["runs"] > 1


def test_manual_lists_every_figure():
    command = [sys.executable, "-m", "benchmarks", "--help"]

    manual = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert {line.split()[0] for line in manual.splitlines() if line.split()} > UNITS.keys()
