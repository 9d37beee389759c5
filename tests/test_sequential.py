"""What the sequential task runner is for: debuggers, coverage and logs reach into tasks."""

import logging
import re
import subprocess
import sys
from textwrap import dedent

import pytest

from runnerstone import flow, task

SCRIPT = """
    from runnerstone import flow, task

    @task
    def add(one, other):
        if one < 0:
            raise ValueError("negative")
        total = one + other
        {statement}
        return total

    @flow(task_runner="sequential")
    def census():
        return add(add(1, 2), 4)

    print("census:", census())
"""


@pytest.fixture
def script(tmp_path):
    def script(statement):
        file = tmp_path / "script.py"
        file.write_text(dedent(SCRIPT.format(statement=statement)), encoding="utf-8")
        return str(file)

    return script


def test_debugger_stops_in_a_task(script, python):
    finished = subprocess.run(
        [sys.executable, script("breakpoint()")],
        env=python.environment,
        input="p one, total\ntotal = 10\nc\np one, total\nup\nc\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "(Pdb) (1, 3)\n" in finished.stdout
    assert "(Pdb) (10, 14)\n" in finished.stdout
    assert finished.stdout.endswith("census: 14\n")


def test_coverage_counts_the_lines_of_a_task(script, python):
    python.run(["-m", "coverage", "run", "--data-file=measured", script("pass")])

    report = python.run(["-m", "coverage", "report", "--data-file=measured", "--show-missing"])

    [line] = [line for line in report.stdout.splitlines() if line.startswith("script.py")]
    assert line.split()[-1] == "7"


@task
def counted(number):
    logging.getLogger("census").warning("counted %d", number)
    return number


@flow(task_runner="sequential")
def census():
    return counted(7)


def test_log_of_a_task_and_of_the_library_is_captured(caplog):
    caplog.set_level(logging.INFO)

    census()

    told = [record.name for record in caplog.records if "counted" in record.getMessage()]
    assert told == ["runnerstone.task_runs", "census", "runnerstone.task_runs"]
    assert "counted 7" in caplog.messages
    assert "Starting task runner `SequentialTaskRunner`..." in caplog.messages


def test_task_without_a_flow_is_the_function_and_logs_nothing_of_the_library(caplog):
    caplog.set_level(logging.DEBUG)

    assert counted(3) == 3
    assert caplog.messages == ["counted 3"]


# --- notebooks

CELL = """
from runnerstone import flow, task

@task(retries=1)
def double(number):
    return 2 * number

@flow(task_runner={runner!r})
def doubles():
    return [double(double(number)) for number in range(3)]

print(doubles())
"""


@pytest.mark.parametrize("runner", ["sequential", "concurrent"])
def test_cell_of_a_notebook_runs_again_like_the_first_time(python, tmp_path, runner):
    (tmp_path / "cell.txt").write_text(CELL.format(runner=runner), encoding="utf-8")
    notebook = """
        import sys
        from pathlib import Path

        cell = Path("cell.txt").read_text(encoding="utf-8")
        for number in (1, 2, 3):
            exec(compile(cell, f"<cell {number}>", "exec"), globals())
            print("---", file=sys.stderr)
    """

    finished = python.run(["-W", "error", "-c", dedent(notebook)])

    assert finished.stdout == "[0, 4, 8]\n" * 3
    logs = [_without_names_and_times(log) for log in finished.stderr.split("---\n")[:-1]]
    assert len(logs) == 3
    assert logs[0] == logs[1] == logs[2]
    assert logs[0].count("Beginning flow run") == 1


def _without_names_and_times(log):
    log = re.sub(r"^[\d:.]+ \| ", "", log, flags=re.MULTILINE)
    log = re.sub(r"(?<=low run )'[a-z-]+'", "", log)
    return "\n".join(sorted(log.splitlines()))  # threads may meet in any order
