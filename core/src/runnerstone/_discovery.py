"""What the installed distributions announce, and the plugins that have been loaded.

A loader of our own instead of pluggy's `load_setuptools_entrypoints`, which loads every plugin to
find one, stops at the first that is broken and silently drops the second of one name.
"""

import threading
from collections.abc import Callable
from typing import Any, Final

import attrs
import pluggy

from runnerstone import _builtins, hookspecs
from runnerstone._names import normal_distribution_name, normal_runner_name
from runnerstone.contracts import TaskRunnerSpec
from runnerstone.errors import InvalidTaskRunnerError, TaskRunnerImportError
from runnerstone.hookimpls import PROJECT
from runnerstone.hookspecs import TASK_RUNNER_GROUP

HOOK: Final = "runnerstone_task_runners"
UNKNOWN_VERSION: Final = "(version unknown)"


@attrs.frozen(kw_only=True, order=True)
class Entry:
    """An entry point of a task runner, read without importing what it names.

    Attributes:
        name: The task runner's name, in its one spelling.
        distribution: Who announces it, likewise.
        version: The distribution's.
        value: The module of hook implementations.
    """

    name: str
    distribution: str
    value: str
    version: str
    load: Callable[[], Any] = attrs.field(eq=False, repr=False)

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


def installed_entries() -> list[Entry]:
    """Read what is announced on ``sys.path`` now, in the order of names, then of distributions.

    A distribution that is there twice counts once, as the one that comes first: imports find that.
    """
    import importlib_metadata  # slow, and the built-in runners need none of it

    found = set()
    for entry_point in importlib_metadata.entry_points(group=TASK_RUNNER_GROUP):
        distribution, version = _origin(entry_point.dist)
        found.add(
            Entry(
                name=normal_runner_name(entry_point.name),
                distribution=distribution,
                value=entry_point.value,
                version=version,
                load=entry_point.load,
            )
        )
    return sorted(found)


def distribution_version(distribution: str) -> str:
    """The version of a distribution; ``(version unknown)`` if only its modules are there."""
    import importlib_metadata  # slow, and running a flow needs none of it

    try:
        return importlib_metadata.version(distribution) or UNKNOWN_VERSION
    except importlib_metadata.PackageNotFoundError:
        return UNKNOWN_VERSION


def _origin(distribution: Any) -> tuple[str, str]:
    """Name and version of an entry point's distribution, even of one that lost its metadata."""
    try:
        name, version = map(distribution.metadata.get, ("Name", "Version"))
    except (AttributeError, OSError):
        name = version = None
    return normal_distribution_name(name or "unnamed"), version or UNKNOWN_VERSION


class Plugins:
    """Plugins in a manager of their own. Several threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # pluggy has none; a hook may resolve a task runner itself
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._manager.register(_builtins)

    def built_in(self) -> dict[str, TaskRunnerSpec]:
        """What the built-in runners are, by name."""
        with self._lock:
            return {spec.name: spec for spec in self._announced_by(_builtins)}

    def spec(self, entry: Entry) -> TaskRunnerSpec:
        """Load the plugin of an entry, and no other, and return what it announces by that name.

        Raises:
            TaskRunnerImportError: If the plugin cannot be imported, or its hook raises.
            InvalidTaskRunnerError: If it has hooks that do not exist, or does not announce the
                name.
        """
        try:
            module = entry.load()
        except (Exception, SystemExit) as error:
            problem = f"{entry.value!r} cannot be imported: {type(error).__name__}: {error}"
            raise import_failure(entry, problem) from error
        with self._lock:
            self._register(module, entry)
            specs = self._specs(module, entry)
        for spec in specs:
            if normal_runner_name(spec.name) == entry.name:
                return spec
        announced = ", ".join(repr(spec.name) for spec in specs) or "none"
        raise InvalidTaskRunnerError(
            f"{entry} has an entry point for a task runner {entry.name!r}, but the hook {HOOK} in "
            f"{entry.value!r} announces {announced}; the two names have to be equal, and the "
            "function that returns the spec marked with runnerstone.hookimpl"
        )

    def _register(self, module: Any, entry: Entry) -> None:
        if self._manager.is_registered(module):
            return
        name = f"{entry.distribution}:{entry.value}"
        if self._manager.has_plugin(name):  # from before the module was imported anew
            self._manager.unregister(name=name)
        try:
            self._manager.register(module, name)
            self._manager.check_pending()  # this plugin's: no other stays with any pending
        except Exception as error:
            if self._manager.is_registered(module):  # pluggy up to 1.6 leaves it half-registered
                self._manager.unregister(module)
            raise InvalidTaskRunnerError(
                f"the plugin {entry.value!r} of {entry} does not fit the hooks of "
                f"runnerstone.hookspecs: {error}"
            ) from error

    def _specs(self, module: Any, entry: Entry) -> list[TaskRunnerSpec]:
        try:
            specs = self._announced_by(module)
        except Exception as error:
            problem = f"the hook {HOOK} in {entry.value!r} raised {type(error).__name__}: {error}"
            raise import_failure(entry, problem) from error
        if wrong := [spec for spec in specs if not isinstance(spec, TaskRunnerSpec)]:
            raise InvalidTaskRunnerError(
                f"the hook {HOOK} in {entry.value!r} of {entry} has to return a list of "
                f"TaskRunnerSpec, and there is {wrong[0]!r} in it"
            )
        return specs

    def _announced_by(self, module: Any) -> list[Any]:
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not module]
        lists = self._manager.subset_hook_caller(HOOK, others)()
        return [spec for specs in lists for spec in specs]


def import_failure(entry: Entry, problem: str) -> TaskRunnerImportError:
    """The error to raise where something of an installed distribution cannot be imported."""
    return TaskRunnerImportError(
        f"task runner {entry.name!r} of {entry}: {problem}; if its installation is damaged: "
        f"pip install --force-reinstall {entry.distribution}"
    )
