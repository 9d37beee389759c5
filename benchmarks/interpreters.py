"""Processes that do one thing and end."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Else, where this is set, each process would compile all that it imports.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


def run(*arguments: str) -> None:
    """Run this Python."""
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def ask(statement: str, *, python: str = sys.executable, path: Sequence[str] = ()) -> Any:
    """What a statement prints in a fresh process, as JSON in its last line."""
    environment = ENVIRONMENT | ({"PYTHONPATH": os.pathsep.join(path)} if path else {})
    finished = subprocess.run(
        [python, "-c", statement],
        check=True,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(finished.stdout.splitlines()[-1])
