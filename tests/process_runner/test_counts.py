"""What tasks send, held to the limits of the benchmarks."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
def test_what_tasks_send_keeps_within_its_counts():
    command = [sys.executable, "-m", "benchmarks.counts", "process"]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "process_" in ran.stdout
