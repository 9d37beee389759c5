import ast
import importlib
import importlib.resources
import inspect
import pkgutil
from pathlib import Path

import pytest

import runnerstone

PLUGINS = Path(__file__).parents[1] / "plugins"

# What must not be loaded before it is needed: it is heavy, or the engine of a plugin.
LATER = {
    *("asyncio", "cattrs", "click", "cloudpickle", "coolname", "importlib_metadata"),
    *("dask", "distributed", "ray"),
    # What only runs need, and processes that they are sent to.
    *(
        "pickle",
        "pluggy",
        "random",
        "runnerstone._engine",
        "runnerstone._plugins",
        "runnerstone.calls",
    ),
    *("runnerstone.contracts", "runnerstone.outcomes", "runnerstone.programs"),
}
# Names without underscore that other modules of core, or its tests, use, and nobody else. A new one
# is entered here or in its module's `__all__`: that is the decision whether it is public.
INTERNAL = {
    "runnerstone.annotations": {"AllowFailure", "Quote", "named"},
    "runnerstone.calls": {"TASK_LOG", "run_coroutine"},
    "runnerstone.cli": {"EXAMPLES", "INTERRUPTED", "run", "runners"},
    "runnerstone.contents": {"LARGE_HEAD", "PROTOCOL", "buffer_views"},
    "runnerstone.contracts": {"check_task_runner_class", "refuse"},
    "runnerstone.contexts": {"ambient_tags"},
    "runnerstone.delays": {"Delay", "LONGEST", "checked_delay", "seconds_before"},
    "runnerstone.futures": {"LOOK_UP_SECONDS", "Owner", "fetch_all", "wait_for_release", "wake"},
    "runnerstone.hookimpls": {"PROJECT"},
    "runnerstone.hookspecs": {"TASK_RUNNER_GROUP", "hookspec"},
    "runnerstone.labels": {"name_of_run", "tags_of_run"},
    "runnerstone.options": {
        *("CHOICES", "Hooks", "RetryOn", "RunName", "TaskRunnerChoice"),
        *("changed", "declared", "label_set"),
    },
    "runnerstone.outcomes": {"EXCEPTION_LIMIT"},
    "runnerstone.packs": {"LONG_SECONDS", "MOST_BYTES", "Plain", "Progress", "Tell"},
    "runnerstone.programs": {"PROGRAMS_KEPT", "Runnable"},
    "runnerstone.runs": {"FAILURES_KEPT"},
    "runnerstone.states": {
        *("ALL_COMPLETED", "AWAITING_RETRY", "COMPLETED", "FINAL_TYPES", "NotReady", "TROUBLE"),
        *("PENDING", "RETRYING", "RUNNING", "aggregate", "exceeded"),
    },
    "runnerstone.tasks": {"task_key"},
    "runnerstone.waits": {"not_final_error"},
}
# Modules with public names that other modules define.
REEXPORTING = {
    "runnerstone",
    "runnerstone.task_runners",
    "runnerstone.testing",
}


def public_modules():
    found = pkgutil.walk_packages(runnerstone.__path__, "runnerstone.")
    names = [name for _, name, _ in found if not any(p.startswith("_") for p in name.split("."))]
    return ["runnerstone", *names]


def defined_names(module):
    """The names without underscore that a module's own statements bind, but for type variables."""
    names = set()
    for node in ast.parse(inspect.getsource(module)).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "ParamSpec"))):
                pass
            case ast.Assign(targets=targets):
                names.update(it.id for it in targets if isinstance(it, ast.Name))
    return {name for name in names if not name.startswith("_")}


@pytest.fixture(params=public_modules())
def module(request):
    return importlib.import_module(request.param)


def test_public_names_are_listed_in_order_and_once(module):
    names = module.__all__

    assert names == sorted(set(names))


def test_public_names_are_there(module):
    missing = [name for name in module.__all__ if not hasattr(module, name)]

    assert missing == []


def test_all_that_a_module_defines_is_public_but_for_what_core_keeps_to_itself(module):
    others = defined_names(module) - set(module.__all__)

    assert others == INTERNAL.get(module.__name__, set())


def test_a_public_name_is_defined_where_it_is_public(module):
    others = set(module.__all__) - defined_names(module)

    assert bool(others) == (module.__name__ in REEXPORTING)


def test_public_classes_and_functions_say_what_they_are(module):
    public = [getattr(module, name) for name in module.__all__]

    silent = [it for it in public if inspect.isroutine(it) or inspect.isclass(it) if not it.__doc__]

    assert silent == []


def test_what_the_package_offers_is_what_it_imports():
    source = ast.parse(inspect.getsource(runnerstone))

    imported = [
        alias.name
        for node in source.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]

    assert sorted(imported) == runnerstone.__all__


def test_a_public_name_is_one_object_everywhere():
    homes = {}
    for module_name in public_modules():
        module = importlib.import_module(module_name)
        for name in module.__all__:
            homes.setdefault(name, set()).add(id(getattr(module, name)))

    assert {name: len(objects) for name, objects in homes.items() if len(objects) > 1} == {}


def test_importing_the_package_loads_nothing_heavy_and_no_engine(python):
    loaded = python.imports("import runnerstone")

    assert LATER & loaded == set()


def test_the_package_is_marked_as_typed():
    marker = importlib.resources.files(runnerstone) / "py.typed"

    assert marker.is_file()


def imported_names(file):
    """What a file imports, with dots."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("plugin", sorted(PLUGINS.iterdir()), ids=lambda folder: folder.name)
def test_plugins_are_written_against_what_is_public(plugin):
    used = {
        name
        for file in (plugin / "src").rglob("*.py")
        for name in imported_names(file)
        if name.startswith("runnerstone.")
    }

    assert used
    assert not [name for name in used if "._" in name or name.startswith("runnerstone.testing")]
    for name in used:
        module, _, public = name.rpartition(".")
        assert public in importlib.import_module(module).__all__, name
