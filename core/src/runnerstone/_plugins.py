"""From what a user writes as ``task_runner=`` to a task runner."""

import functools
import time
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import attrs

from runnerstone._discovery import (
    Entry,
    Plugins,
    distribution_version,
    import_failure,
    installed_entries,
)
from runnerstone._names import normal_distribution_name, normal_runner_name, suggestion
from runnerstone._settings import new_task_runner, with_settings
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
        if isinstance(choice, TaskRunner):
            check_task_runner_class(type(choice))
            return with_settings(choice, settings) if settings else choice
        if choice is None:
            choice = DEFAULT
        if isinstance(choice, str):
            return new_task_runner(self.find_class(choice), settings)
        cls = _checked(choice, "the task runner")
        return new_task_runner(cls, settings)

    def find_class(self, choice: str) -> type[TaskRunner]:
        """The class that a name or a path stands for, imported and checked."""
        if ":" in choice:
            return _checked(_imported(choice), f"{choice!r}")
        if choice not in self._classes:  # a failure is not kept: its cause may be repaired
            self._classes[choice] = self._named_class(choice)
        return self._classes[choice]

    def installed(self) -> list[InstalledTaskRunner]:
        """Built-in task runners and plugins, in the order of names; loads all plugins, no classes."""
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
        written_name, _, written_distribution = choice.partition("@")
        name = normal_runner_name(written_name)
        distribution = normal_distribution_name(written_distribution)
        if name in self._built_in and distribution in {"", CORE}:
            return _checked(_imported(self._built_in[name].path), f"task runner {name!r}")
        entry = self._entry(name, distribution)
        spec = self._spec(entry)
        what = f"task runner {name!r} of {entry}"
        try:
            found = _imported(spec.path)
        except TaskRunnerImportError as error:
            raise import_failure(f"{what}, {spec.path},", entry, error.__cause__ or error) from (
                error.__cause__ or error
            )
        return _checked(found, what)

    def _entry(self, name: str, distribution: str) -> Entry:
        entries = installed_entries()
        named = [entry for entry in entries if entry.name == name]
        chosen = [entry for entry in named if distribution in {"", entry.distribution}]
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            raise _ambiguous(name, chosen)
        installed = sorted({*self._built_in, *(entry.name for entry in entries)})
        listed = f"; installed: {', '.join(installed)}"
        if named:
            choices = " or ".join(repr(f"{name}@{entry.distribution}") for entry in named)
            raise UnknownTaskRunnerError(
                f"no task runner {name!r} in a distribution {distribution!r}; there is {choices}{listed}"
            )
        if distribution in {"", WELL_KNOWN.get(name)}:
            if name in WELL_KNOWN:
                raise TaskRunnerNotInstalledError(
                    f"task runner {name!r} is not installed; to install it: pip install "
                    f"{WELL_KNOWN[name]}{listed}"
                )
        meant = suggestion(name, {*installed, *WELL_KNOWN})
        raise UnknownTaskRunnerError(f"no task runner named {name!r}{meant}{listed}")

    def _spec(self, entry: Entry) -> TaskRunnerSpec:
        if entry.name in self._built_in:
            raise InvalidTaskRunnerError(
                f"{entry} announces a task runner {entry.name!r}, which is the name of a built-in one; "
                "its author has to choose another name"
            )
        if {":", "@"} & set(entry.name):
            raise InvalidTaskRunnerError(
                f"{entry} announces a task runner {entry.name!r}, and a name has neither ':' nor '@' in "
                "it; its author has to choose another name"
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
    """The class that a name or a path stands for. Raises TaskRunnerError, as `resolve_task_runner`."""
    return _registry().find_class(choice)


def installed_task_runners() -> list[InstalledTaskRunner]:
    """All task runners that can be chosen by name, and the plugins that failed; raises nothing of theirs."""
    return _registry().installed()


def _imported(path: str) -> Any:
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise TaskRunnerImportError(
            f"{path!r} is no path of a task runner: write 'package.module:Class'"
        )
    try:
        module = import_module(module_name)
    except Exception as error:
        raise TaskRunnerImportError(
            f"{path!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    try:
        return attrgetter(name)(module)
    except AttributeError:
        known = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise TaskRunnerImportError(
            f"{path!r} cannot be imported: module {module_name!r} has no {name!r}"
            f"{suggestion(name, known)}"
        ) from None


def _checked(found: object, what: str) -> type[TaskRunner]:
    if not (isinstance(found, type) and issubclass(found, TaskRunner)):
        raise InvalidTaskRunnerError(
            f"{what} is {found!r}, which is no TaskRunner: choose a name such as {DEFAULT!r}, "
            "'package.module:Class', or a subclass or an instance of runnerstone.task_runners.TaskRunner"
        )
    check_task_runner_class(found)
    return found


def _ambiguous(name: str, entries: list[Entry]) -> AmbiguousTaskRunnerError:
    found = ", ".join(f"{entry} ({entry.value})" for entry in entries)
    distributions = {entry.distribution for entry in entries}
    if len(distributions) == 1:
        advice = "its author has to remove one"
    else:
        choices = " or ".join(repr(f"{name}@{distribution}") for distribution in sorted(distributions))
        advice = f"choose {choices}, or uninstall one"
    return AmbiguousTaskRunnerError(
        f"task runner {name!r} is announced more than once: by {found}; {advice}"
    )
