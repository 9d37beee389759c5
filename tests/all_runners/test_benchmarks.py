"""The benchmarks' rows of the plugins."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_quick_form_measures_every_engine(tmp_path):
    prefixes = ["loop", "pack", "bytes", "memory_dask", "memory_ray", "start_resolution"]
    options = ["--quick", "--runs", "1", "--output", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks", *prefixes, *options]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 34
    assert [row["name"] for row in rows if row["value"] is None] == []
