"""Task runners: the built-in ones, those of installed plugins by name, and what an author needs.

Users take classes from here, or choose by name (``@flow(task_runner="sequential")``)::

    from runnerstone.task_runners import SequentialTaskRunner

``DaskTaskRunner``, ``ProcessTaskRunner`` and ``RayTaskRunner`` are here once their distributions
are installed; until then, importing one says what to install.

Authors derive from `TaskRunner`. The manual, with a complete runner, is the docstring of
`runnerstone.contracts`.
"""

from typing import Any

from runnerstone._concurrent import ConcurrentTaskRunner
from runnerstone._plugins import (
    WELL_KNOWN,
    InstalledTaskRunner,
    find_task_runner_class,
    installed_task_runners,
    resolve_task_runner,
)
from runnerstone._sequential import SequentialTaskRunner
from runnerstone.calls import Parcel, TaskCall
from runnerstone.contents import Pickled, Reference
from runnerstone.contracts import (
    CONTRACT_VERSION,
    Capabilities,
    Report,
    TaskRunner,
    TaskRunnerSpec,
    relay,
)
from runnerstone.hookimpls import hookimpl
from runnerstone.outcomes import Crash, Failure, Outcome
from runnerstone.packs import Pack, run_parcel
from runnerstone.shields import shielded

__all__ = [
    "CONTRACT_VERSION",
    "Capabilities",
    "ConcurrentTaskRunner",
    "Crash",
    "Failure",
    "InstalledTaskRunner",
    "Outcome",
    "Pack",
    "Parcel",
    "Pickled",
    "Reference",
    "Report",
    "SequentialTaskRunner",
    "TaskCall",
    "TaskRunner",
    "TaskRunnerSpec",
    "hookimpl",
    "installed_task_runners",
    "relay",
    "resolve_task_runner",
    "run_parcel",
    "shielded",
]

_PLUGIN_CLASSES = {f"{name.capitalize()}TaskRunner": name for name in WELL_KNOWN}


def __getattr__(name: str) -> Any:
    """The task runner class of a well-known plugin; raises what keeps it from being had."""
    if name in _PLUGIN_CLASSES:
        return find_task_runner_class(_PLUGIN_CLASSES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
