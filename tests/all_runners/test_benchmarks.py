"""The benchmarks' figures of the plugins."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
def test_quick_form_prints_a_figure_for_each_engine():
    command = [sys.executable, "-m", "benchmarks", "--quick"]

    printed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)

    figures = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [figure["name"] for figure in figures[-4:]] == [
        *("noop_process", "noop_process_loky", "noop_dask", "noop_ray")
    ]
    assert {figure["unit"] for figure in figures[-4:]} == {"us/task"}
