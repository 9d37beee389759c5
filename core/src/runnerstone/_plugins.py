"""From what a user writes as ``task_runner=`` to a task runner."""

import functools
import time
from collections import Counter
from collections.abc import Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Final

import attrs

from runnerstone._class_paths import checked_class, find_at
from runnerstone._discovery import (
    Entry,
    Plugins,
    distribution_version,
    import_failure,
    installed_entries,
)
from runnerstone._names import normal_distribution_name, normal_runner_name, suggestion
from runnerstone.contracts import TaskRunner, TaskRunnerSpec, check_task_runner_class
from runnerstone.errors import (
    AmbiguousTaskRunnerError,
    InvalidTaskRunnerError,
    TaskRunnerError,
    TaskRunnerImportError,
    TaskRunnerNotInstalledError,
    UnknownTaskRunnerError,
)

CORE: Final = "runnerstone"
DEFAULT: Final = "concurrent"
"""The task runner of a flow that names none."""

WELL_KNOWN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dask": "runnerstone-dask",
        "process": "runnerstone-process",
        "ray": "runnerstone-ray",
    }
)
"""Names of task runners that need not be installed, and the distributions to install for them."""


@attrs.frozen(kw_only=True)
class InstalledTaskRunner:
    """A line of the listing.

    Attributes:
        name: What it is chosen by; ``name@distribution`` where two distributions have the name.
        distribution: Who announces it.
        version: The distribution's.
        spec: What is announced; None if there is an error.
        error: Why it cannot be used, as far as can be told without importing the class.
        load_seconds: How long its plugin took to load.
    """

    name: str
    distribution: str
    version: str
    spec: TaskRunnerSpec | None
    error: TaskRunnerError | None
    load_seconds: float


class Registry:
    """The task runners that can be had by name."""

    def __init__(self) -> None:
        self._plugins = Plugins()
        self._built_in = self._plugins.built_in()
        self._classes: dict[str, type[TaskRunner]] = {}

    def resolve(self, choice: object, settings: Mapping[str, str]) -> TaskRunner:
        """See `resolve_task_runner`."""
        from runnerstone._settings import new_task_runner, with_settings  # slow to load

        if isinstance(choice, TaskRunner):
            check_task_runner_class(type(choice))
            return with_settings(choice, settings) if settings else choice
        if choice is None:
            choice = DEFAULT
        if isinstance(choice, str):
            return new_task_runner(self.find_class(choice), settings)
        cls = checked_class(choice, "the task runner")
        return new_task_runner(cls, settings)

    def find_class(self, choice: str) -> type[TaskRunner]:
        """The class that a name or a path stands for, imported and checked."""
        if ":" in choice:
            return checked_class(find_at(choice), f"{choice!r}")
        if choice not in self._classes:  # a failure is not kept: its cause may be repaired
            self._classes[choice] = self._named_class(choice)
        return self._classes[choice]

    def installed(self) -> list[InstalledTaskRunner]:
        """See `installed_task_runners`."""
        entries = installed_entries()
        version = distribution_version(CORE)
        counts = Counter(entry.name for entry in entries if entry.name not in self._built_in)
        listed = [
            InstalledTaskRunner(
                name=name,
                distribution=CORE,
                version=version,
                spec=spec,
                error=None,
                load_seconds=0.0,
            )
            for name, spec in self._built_in.items()
        ]
        listed += [self._listed(entry, shared=counts[entry.name] != 1) for entry in entries]
        return sorted(listed, key=attrgetter("name", "distribution"))

    def _listed(self, entry: Entry, *, shared: bool) -> InstalledTaskRunner:
        spec = error = None
        started = time.perf_counter()
        try:
            spec = self._spec(entry)
        except TaskRunnerError as refusal:
            error = refusal
        return InstalledTaskRunner(
            name=f"{entry.name}@{entry.distribution}" if shared else entry.name,
            distribution=entry.distribution,
            version=entry.version,
            spec=spec,
            error=error,
            load_seconds=time.perf_counter() - started,
        )

    def _named_class(self, choice: str) -> type[TaskRunner]:
        name, _, distribution = choice.partition("@")
        name = normal_runner_name(name)
        distribution = normal_distribution_name(distribution)
        if name in self._built_in and distribution in {"", CORE}:
            return checked_class(find_at(self._built_in[name].path), f"task runner {name!r}")
        entry = self._entry(name, distribution)
        spec = self._spec(entry)
        try:
            found = find_at(spec.path)
        except TaskRunnerImportError as error:
            raise import_failure(entry, str(error)) from error.__cause__
        return checked_class(found, f"task runner {name!r} of {entry}")

    def _entry(self, name: str, distribution: str) -> Entry:
        entries = installed_entries()
        named = [entry for entry in entries if entry.name == name]
        chosen = [entry for entry in named if distribution in {"", entry.distribution}]
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            raise _ambiguous(name, chosen)
        installed = {*self._built_in, *(entry.name for entry in entries)}
        listing = f"installed: {', '.join(sorted(installed))}"
        announcers = [CORE] * (name in self._built_in) + [entry.distribution for entry in named]
        if announcers:
            choices = " or ".join(repr(f"{name}@{announcer}") for announcer in announcers)
            raise UnknownTaskRunnerError(
                f"no task runner {name!r} in a distribution {distribution!r}; there is {choices}; "
                f"{listing}"
            )
        if name in WELL_KNOWN and distribution in {"", WELL_KNOWN[name]}:
            raise TaskRunnerNotInstalledError(
                f"task runner {name!r} is not installed; to install it: pip install "
                f"{WELL_KNOWN[name]}; {listing}"
            )
        raise UnknownTaskRunnerError(
            f"no task runner named {name!r}{suggestion(name, installed | set(WELL_KNOWN), listing)}"
        )

    def _spec(self, entry: Entry) -> TaskRunnerSpec:
        if entry.name in self._built_in:
            raise InvalidTaskRunnerError(
                f"{entry} announces a task runner {entry.name!r}, which is the name of a built-in "
                "one; its author has to choose another name"
            )
        if {":", "@"} & set(entry.name):
            raise InvalidTaskRunnerError(
                f"{entry} announces a task runner {entry.name!r}, and no name has ':' or '@' in "
                "it; its author has to choose another"
            )
        return self._plugins.spec(entry)


@functools.cache
def _registry() -> Registry:
    return Registry()


def resolve_task_runner(choice: object, settings: Mapping[str, str] | None = None) -> TaskRunner:
    """The task runner that a user means: a description, to be copied for each run.

    Args:
        choice: An instance; a class, for its defaults; ``"name"``, ``"name@distribution"`` or
            ``"package.module:Class"``; None for the default.
        settings: Settings as text that replace those of the instance or the defaults.

    Raises:
        TaskRunnerError: If it cannot be had. Nothing is ever put in its place.
    """
    return _registry().resolve(choice, settings or {})


def find_task_runner_class(choice: str) -> type[TaskRunner]:
    """The class that a name or a path stands for; raises TaskRunnerError if it cannot be had."""
    return _registry().find_class(choice)


def installed_task_runners() -> list[InstalledTaskRunner]:
    """Built-in task runners and those of plugins, also of plugins that fail, in the order of names.

    It loads all plugins, but imports none of the classes that they announce.
    """
    return _registry().installed()


def _ambiguous(name: str, entries: list[Entry]) -> AmbiguousTaskRunnerError:
    found = ", ".join(f"{entry} ({entry.value})" for entry in entries)
    distributions = {entry.distribution for entry in entries}
    if len(distributions) == 1:
        advice = "its author has to remove one"
    else:
        choices = [repr(f"{name}@{distribution}") for distribution in sorted(distributions)]
        advice = f"choose {' or '.join(choices)}, or uninstall one"
    return AmbiguousTaskRunnerError(
        f"task runner {name!r} is announced more than once: by {found}; {advice}"
    )
