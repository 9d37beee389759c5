import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[1]

BARS = {  # of rows that need no plugin
    "thread_noop": "≤ 1 x",
    "thread_noop_logged": "≤ 1.2 x",
    "graph_chain_edge": "≤ 1 us/edge",
    "graph_chain_linear": "≤ 1.2 x",
    "graph_fan_in_edge": "≤ 1 us/edge",
    "graph_fan_in_linear": "≤ 1.2 x",
    "graph_layers_edge": "≤ 1 us/edge",
    "graph_layers_linear": "≤ 1.2 x",
    "start_import": "≤ 50 ms",
    "start_command": "≤ 250 ms",
    "start_flow": "≤ 0.5 ms",
    "start_resolution_concurrent": "≤ 5 ms",
    "memory_streamed": "≤ 50 MB",
    "memory_held": "≤ 1000 B/task",
}
OF_CORE = [*BARS, "thread_sequential", "start_flow_by_name"]


@attrs.frozen
class Suite:
    """The benchmarks, run in their quick form."""

    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmarks", "--quick", *arguments]
        output = ["--output", str(self.folder)]
        return subprocess.run(
            [*command, *output], cwd=ROOT, capture_output=True, text=True, check=False
        )

    def rows(self):
        results = json.loads((self.folder / "results.json").read_text(encoding="utf-8"))
        return {row["name"]: row for row in results["rows"]}

    def table(self):
        return (self.folder / "results.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def core(tmp_path_factory) -> Suite:
    """The rows that need no plugin."""
    suite = Suite(tmp_path_factory.mktemp("core"))
    ran = suite.run(*OF_CORE)
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    return suite


@pytest.fixture
def counts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import counts

    return counts


@pytest.fixture
def reports(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import reports

    return reports


@pytest.mark.parametrize("name", OF_CORE)
def test_median_lies_between_its_extremes(core, name):
    row = core.rows()[name]

    assert row["ratio_min"] <= row["ratio"] <= row["ratio_max"]
    assert row["value_min"] <= row["value"] <= row["value_max"]
    assert row["reference"] > 0
    assert row["runs"] > 0


@pytest.mark.parametrize(("name", "bar"), BARS.items())
def test_row_says_whether_its_bar_is_met(core, name, bar):
    row = core.rows()[name]

    assert row["bar"] == bar
    assert row["met"] is (row[row["limit_of"]] <= row["limit"])


def test_table_has_a_line_for_each_row(core):
    lines = core.table().splitlines()

    assert {line.split("`")[1] for line in lines if line.startswith("| `")} == {*core.rows()}


def test_results_tell_versions_and_nothing_of_whose_machine_it_is(core):
    results = json.loads((core.folder / "results.json").read_text(encoding="utf-8"))

    assert {*results["environment"]} == {"python", "system", "cores", "versions"}
    assert str(ROOT) not in json.dumps(results)


def test_rows_that_are_not_measured_again_stay(tmp_path):
    suite = Suite(tmp_path)
    suite.run("start_flow")
    before = suite.rows()

    suite.run("graph_chain_edge")

    assert suite.rows().keys() == before.keys() | {"graph_chain_edge"}
    assert suite.rows()["start_flow"] == before["start_flow"]


def test_row_that_cannot_be_measured_says_why(tmp_path):
    suite = Suite(tmp_path)

    ran = suite.run("python_free_threaded")

    row = suite.rows()["python_free_threaded"]
    assert ran.returncode == 0, ran.stderr
    assert row["value"] is not None or row["note"] == "no free-threaded Python here"


def test_page_shows_the_results_that_are_kept(reports):
    rows = reports.read(ROOT / "benchmarks" / "results").values()
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")

    shown = page.partition(reports.BEGINNING)[2].partition(reports.END)[0]

    assert shown.strip() == reports.table([*rows]).strip()
    assert len(rows) > len(OF_CORE)


def test_page_keeps_what_is_around_the_results(reports, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n\n{reports.BEGINNING}old\n{reports.END}\nAfter.\n")

    reports.embed("new\n", page)
    reports.embed("newer\n", page)

    text = f"Before.\n\n{reports.BEGINNING}\nnewer\n\n{reports.END}\nAfter.\n"
    assert page.read_text() == text


def test_flow_for_free_threaded_pythons_runs_on_this_one(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import pythons

    assert pythons.spin_seconds(sys.executable, threads=2, tasks=4, count=10) > 0


def test_unknown_prefix_is_refused_with_the_names(tmp_path):
    ran = Suite(tmp_path).run("thread_nop")

    assert ran.returncode == 1
    assert "thread_noop" in ran.stderr


def test_core_keeps_within_its_counts():
    command = [sys.executable, "-m", "benchmarks.counts", "core"]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_count_over_its_limit_is_found(counts):
    for name, limit in counts.LIMITS.items():
        assert counts.over({name: limit.most}) == []
        assert counts.over({name: limit.most + 0.01}) == [name]


def test_crossed_limit_fails_the_command(counts, monkeypatch, capsys):
    monkeypatch.setitem(counts.COUNTERS, "core", lambda: {"records_run": 3.0, "calls_run": 1.0})

    with pytest.raises(SystemExit, match=r"over their limits: records_run$"):
        counts.main(["core"])

    assert "3 > 2" in capsys.readouterr().out
