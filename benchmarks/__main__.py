"""Measure what runnerstone costs, each time against doing the same without it.

Run it from the root of the repository, with runnerstone installed: ``python -m benchmarks``, or
``python -m benchmarks --quick`` to see in seconds that it works. It prints JSON, a line a figure:
``name``, ``value``, ``unit``, ``reference`` (in that unit too), ``ratio``, ``runs``, ``ratio_min``,
``ratio_max``.

Read the ratios: ours to the reference, the median, the least and the largest of so many runs. Both
are timed in turns, in one process or one kind of process, so what slows the machine down slows
both. Times, here medians, are the machine's of that hour, and compare with no others. The quick
form's figures mean nothing.

    name                value, and the reference that it is measured against
    noop_concurrent     a task that does nothing, one of 20,000 in a flow; on a `ThreadPoolExecutor`
                        of as many threads, `submit` and `result`
    noop_sequential     the same on the sequential task runner; a plain call
    chain_concurrent    a task that waits for the one before, in a chain of 10,000; a pool's
                        `submit(..., previous.result())`
    fan_in_concurrent   a task with one result, and one of 10,000 edges from these to a task that
                        takes them all; on a pool, waiting in the driver
    empty_flow_run      a flow that does nothing; a `ThreadPoolExecutor` that does nothing
    runner_by_name      a flow that does nothing and names its task runner; one that has an instance
    import_runnerstone  how much longer an interpreter lives that imports runnerstone; a bare one.
                        The ratio is that of whole lives
    noop_process        a task that does nothing, one of 3,000 in a flow, on two processes that run;
                        `submit` and `result` on a `concurrent.futures.ProcessPoolExecutor`
    noop_process_loky   the same; on a `loky.ProcessPoolExecutor`
    noop_dask           the same on a `LocalCluster` of two workers; `client.submit`, and `gather`
    noop_ray            the same on a local Ray of two processors; `f.remote`, and `ray.get` of each

The last four are there where the plugin is installed.

Flows log at level WARNING, so nothing.
"""

import argparse
import json
import logging
from dataclasses import asdict

from benchmarks import engines, flow_runs, imports, task_runs


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a short form that measures nothing")
    quick = parser.parse_args().quick
    logging.getLogger("runnerstone").setLevel(logging.WARNING)
    for module in (task_runs, flow_runs, imports):
        for comparison in module.comparisons(quick=quick):
            print(json.dumps(asdict(comparison.figure())), flush=True)
    for group in engines.groups(quick=quick):
        with group as comparisons:
            for comparison in comparisons:
                print(json.dumps(asdict(comparison.figure())), flush=True)


if __name__ == "__main__":
    main()
