"""What ``import runnerstone`` adds to the start of an interpreter."""

import os
import subprocess
import sys
from functools import partial

from benchmarks.comparisons import Comparison

# Else, where this is set, each run would compile all that it imports.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


def interpreter(statement: str) -> None:
    subprocess.run([sys.executable, "-c", statement], check=True, env=ENVIRONMENT)


def comparisons(*, quick: bool) -> list[Comparison]:
    """The comparison of this module; the short one if `quick`."""
    return [
        Comparison(
            name="import_runnerstone",
            unit="ms more",
            per_second=1e3,
            ours=partial(interpreter, "import runnerstone"),
            reference=partial(interpreter, "pass"),
            runs=3 if quick else 21,
            is_surplus=True,
        )
    ]
