"""Measure what runnerstone costs, each time against doing the same without it.

Run it from the root of the repository, with runnerstone installed: ``python -m benchmarks``, or
``python -m benchmarks thread graph_chain`` for the rows whose names begin so. ``--quick`` shows in
a minute that it works; its figures mean nothing. What is not installed is not measured, and its
rows say so. ``docs/performance.md`` says how to read the rows.

    thread_     tasks that do nothing, on threads
    graph_      dependencies between tasks
    start_      importing, the command, flows that do nothing, task runners by name
    memory_     what stays of many tasks
    loop_       tasks that travel alone, on processes, Dask and Ray
    pack_       tasks that travel several together
    bytes_      what is sent for a task
    peer_       the same loop in other libraries
    python_     threads that run at once, where a Python without its lock is found

``python -m benchmarks.counts`` counts what does not depend on the machine.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from benchmarks import graphs, loops, memory, messages, packs, peers, pythons, starts, threads
from benchmarks.comparisons import Comparison
from benchmarks.interpreters import ROOT
from benchmarks.reports import Report, embed, line, table
from benchmarks.rows import Row
from benchmarks.ways import silence

RESULTS = ROOT / "benchmarks" / "results"
SUBJECTS = (threads, graphs, starts, memory, loops, packs, messages, peers, pythons)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a line a row, and write the results."""
    options = _parser().parse_args(arguments)
    silence()
    output = options.output or (None if options.quick else RESULTS)
    every = [subject.comparisons(quick=options.quick) for subject in SUBJECTS]
    order = [comparison.name for group in every for comparison in group]
    prefixes = tuple(options.prefixes) or ("",)
    if not any(name.startswith(prefix) for name in order for prefix in prefixes):
        raise SystemExit(f"no row's name begins with {' or '.join(prefixes)}: {', '.join(order)}")
    report = Report(output, order)
    for group in every:
        chosen = [comparison for comparison in group if comparison.name.startswith(prefixes)]
        for row in measured(chosen, options.runs):
            print(line(row), flush=True)
            report.add(row)
        report.save()
    report.draw()
    if output == RESULTS:
        embed(table(report.rows()), ROOT / "docs" / "performance.md")


def measured(comparisons: Sequence[Comparison], runs: int | None) -> Iterator[Row]:
    """The rows of a subject; each engine runs while those are measured that need it.

    Args:
        comparisons: What is measured.
        runs: How often, instead of what each says.
    """
    for engine in dict.fromkeys(comparison.engine for comparison in comparisons):
        chosen = [comparison for comparison in comparisons if comparison.engine is engine]
        lack = "" if engine is None else engine.lack()
        with nullcontext() if engine is None or lack else engine:
            for comparison in chosen:
                why = lack or comparison.lack
                yield comparison.unmeasured(why) if why else comparison.row(runs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prefixes", nargs="*", metavar="PREFIX", help="of the rows to be measured")
    parser.add_argument("--quick", action="store_true", help="a short form that measures nothing")
    parser.add_argument("--runs", type=int, help="how often each is measured")
    parser.add_argument(
        "--output",
        type=Path,
        help="the folder to write results.json, results.md and plots into; by default "
        "benchmarks/results, and none if --quick",
    )
    return parser


if __name__ == "__main__":
    main()
