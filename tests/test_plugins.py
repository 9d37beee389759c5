import sys
from importlib import import_module

import attrs
import pytest

from runnerstone._plugins import WELL_KNOWN, InstalledTaskRunner, Registry
from runnerstone.errors import (
    AmbiguousTaskRunnerError,
    InvalidTaskRunnerError,
    TaskRunnerImportError,
    TaskRunnerNotInstalledError,
    TaskRunnerSettingError,
    UnknownTaskRunnerError,
)
from runnerstone.task_runners import (
    ConcurrentTaskRunner,
    Report,
    SequentialTaskRunner,
    TaskCall,
    TaskRunner,
    resolve_task_runner,
)


class AddressTaskRunner(TaskRunner):
    address: str

    def submit(self, call: TaskCall, report: Report) -> None:
        raise NotImplementedError


class HidingTaskRunner(TaskRunner):
    def __init__(self, size: int) -> None:
        self.size = size

    def submit(self, call: TaskCall, report: Report) -> None:
        raise NotImplementedError


@pytest.fixture
def registry() -> Registry:
    return Registry()


def resolve(registry: Registry, choice: object, **settings: str) -> TaskRunner:
    return registry.resolve(choice, settings)


def listed(registry: Registry, name: str) -> InstalledTaskRunner:
    (found,) = [installed for installed in registry.installed() if installed.name == name]
    return found


# --- choices


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sequential", SequentialTaskRunner),
        ("concurrent", ConcurrentTaskRunner),
        ("Sequential", SequentialTaskRunner),
        ("sequential@runnerstone", SequentialTaskRunner),
    ],
)
def test_built_in_runners_are_found_by_name(registry, name, kind):
    runner = resolve(registry, name)

    assert type(runner) is kind


def test_no_choice_is_the_concurrent_runner():
    assert resolve_task_runner(None) == ConcurrentTaskRunner()


def test_an_instance_is_itself(registry):
    runner = ConcurrentTaskRunner(max_workers=2)

    assert resolve(registry, runner) is runner


def test_a_class_gives_an_instance_with_its_defaults(registry):
    assert resolve(registry, ConcurrentTaskRunner) == ConcurrentTaskRunner()


def test_settings_as_text_change_an_instance(registry):
    runner = resolve(registry, ConcurrentTaskRunner(max_workers=2), max_workers="4")

    assert runner == ConcurrentTaskRunner(max_workers=4)


def test_settings_as_text_go_to_a_named_runner(registry):
    assert resolve(registry, "concurrent", max_workers="4") == ConcurrentTaskRunner(max_workers=4)


def test_a_class_that_needs_settings_is_refused_without_them(registry):
    with pytest.raises(TaskRunnerSettingError, match="AddressTaskRunner needs a value for address"):
        resolve(registry, AddressTaskRunner)


def test_a_class_that_needs_settings_takes_them_as_text(registry):
    runner = resolve(registry, AddressTaskRunner, address="tcp://here:1")

    assert runner == AddressTaskRunner(address="tcp://here:1")


def test_a_path_is_imported(registry, site):
    site.add_plugin("at-once", "path-plugin")

    runner = resolve(registry, "path_plugin_runner:AtOnceTaskRunner")

    assert type(runner) is import_module("path_plugin_runner").AtOnceTaskRunner


def test_a_plugin_is_found_by_the_name_of_its_entry_point(registry, site):
    site.add_plugin("at-once", "some-plugin")

    runner = resolve(registry, "at-once", size="5")

    assert repr(runner) == "AtOnceTaskRunner(size=5)"


@pytest.mark.parametrize("choice", ["big_pool", "BIG-pool", "big-pool@Some_Plugin"])
def test_spelling_of_names_does_not_matter(registry, site, choice):
    site.add_plugin("Big_Pool", "some-plugin")

    assert type(resolve(registry, choice)).__name__ == "AtOnceTaskRunner"


def test_a_plugin_installed_after_a_miss_is_found(registry, site):
    with pytest.raises(UnknownTaskRunnerError):
        resolve(registry, "at-once")
    site.add_plugin("at-once", "late-plugin")

    assert type(resolve(registry, "at-once")).__name__ == "AtOnceTaskRunner"


def test_two_entry_points_may_share_a_module(registry, site):
    hooks = """
        from runnerstone.task_runners import TaskRunnerSpec, hookimpl

        @hookimpl
        def runnerstone_task_runners():
            path = "twin_plugin_runner:AtOnceTaskRunner"
            return [TaskRunnerSpec(name=name, path=path, summary=name) for name in ("one", "two")]
    """
    site.add_plugin("unused", "twin-plugin")
    site.add_module("twin_hooks", hooks)
    site.add_distribution("twins", {"one": "twin_hooks", "two": "twin_hooks"})

    assert [listed(registry, name).spec.summary for name in ("one", "two")] == ["one", "two"]


# --- what is loaded


def test_a_built_in_name_reads_no_metadata(python):
    loaded = python.imports(
        "from runnerstone.task_runners import resolve_task_runner\n"
        "resolve_task_runner('sequential'), resolve_task_runner(None)"
    )

    assert "importlib_metadata" not in loaded


def test_a_name_loads_its_plugin_and_no_other(registry, site, python):
    site.add_plugin("one", "plugin-one")
    site.add_plugin("two", "plugin-two")
    resolve_one = (
        f"import sys; sys.path.insert(0, {str(site.folder)!r})\n"
        "from runnerstone.task_runners import resolve_task_runner\n"
        "resolve_task_runner('one')"
    )

    loaded = python.imports(resolve_one)

    assert {"plugin_one_hooks", "plugin_one_runner"} <= loaded
    assert not {"plugin_two_hooks", "plugin_two_runner"} & loaded


def test_listing_loads_no_class(site, python):
    site.add_plugin("one", "plugin-one")
    list_all = (
        f"import sys; sys.path.insert(0, {str(site.folder)!r})\n"
        "from runnerstone.task_runners import installed_task_runners\n"
        "installed_task_runners()"
    )

    loaded = python.imports(list_all)

    assert "plugin_one_hooks" in loaded
    assert "plugin_one_runner" not in loaded


def test_built_in_runners_announce_the_capabilities_of_their_classes(registry):
    for name in ("sequential", "concurrent"):
        announced = listed(registry, name).spec.capabilities

        assert announced == type(resolve(registry, name)).capabilities


# --- names that nothing has


def test_an_unknown_name_gets_the_nearest_and_what_is_installed(registry, site):
    site.add_plugin("at-once", "some-plugin")
    message = (
        "no task runner named 'at-onse'; did you mean 'at-once'[?] installed: at-once, concurrent"
    )

    with pytest.raises(UnknownTaskRunnerError, match=message):
        resolve(registry, "at-onse")


def test_a_name_like_no_other_gets_what_is_installed(registry):
    with pytest.raises(
        UnknownTaskRunnerError, match=r"no task runner named 'xyz'; installed: .*seq"
    ):
        resolve(registry, "xyz")


def test_a_well_known_name_gets_the_command_that_installs_it(registry):
    installed = {found.distribution for found in registry.installed()}
    name = next((name for name, home in WELL_KNOWN.items() if home not in installed), None)
    if name is None:
        pytest.skip("all that are well known are installed")
    message = (
        f"task runner '{name}' is not installed; .*pip install runnerstone-{name}; installed: "
    )

    with pytest.raises(TaskRunnerNotInstalledError, match=message):
        resolve(registry, name)


def test_a_wrong_distribution_gets_the_right_ones(registry, site):
    site.add_plugin("at-once", "some-plugin")
    message = "no task runner 'at-once' in a distribution 'other'; there is 'at-once@some-plugin'"

    with pytest.raises(UnknownTaskRunnerError, match=message):
        resolve(registry, "at-once@other")


def test_a_built_in_name_is_in_no_other_distribution(registry):
    with pytest.raises(UnknownTaskRunnerError, match="there is 'sequential@runnerstone'"):
        resolve(registry, "sequential@other")


# --- two of one name


def test_two_distributions_of_one_name_are_both_named(registry, site):
    site.add_plugin("at-once", "plugin-a")
    site.add_plugin("at-once", "plugin-b")
    message = (
        r"announced more than once: by plugin-a 1\.0 \(plugin_a_hooks\), plugin-b 1\.0 .*"
        "choose 'at-once@plugin-a' or 'at-once@plugin-b'"
    )

    with pytest.raises(AmbiguousTaskRunnerError, match=message):
        resolve(registry, "at-once")


def test_the_distribution_settles_a_shared_name(registry, site):
    site.add_plugin("at-once", "plugin-a")
    site.add_plugin("at-once", "plugin-b")

    runner = resolve(registry, "at-once@plugin-b")

    assert type(runner).__module__ == "plugin_b_runner"


def test_a_shared_name_is_listed_with_its_distributions(registry, site):
    site.add_plugin("at-once", "plugin-b")
    site.add_plugin("at-once", "plugin-a")

    names = [found.name for found in registry.installed() if found.distribution != "runnerstone"]

    assert [name for name in names if name.startswith("at-once")] == [
        "at-once@plugin-a",
        "at-once@plugin-b",
    ]


def test_a_distribution_that_is_on_the_path_twice_counts_once(registry, site, tmp_path):
    site.add_plugin("at-once", "some-plugin")
    shadowed = attrs.evolve(site, folder=tmp_path / "shadowed")
    shadowed.folder.mkdir()
    shadowed.add_distribution("some-plugin", {"at-once": "nowhere"}, version="0.1")
    sys.path.append(str(shadowed.folder))

    assert listed(registry, "at-once").version == "1.0"


def test_one_distribution_with_a_name_twice_is_its_author_s_to_repair(registry, site):
    site.add_distribution("some-plugin", {"at-once": "one", "At_Once": "two"})

    with pytest.raises(AmbiguousTaskRunnerError, match="its author has to remove one"):
        resolve(registry, "at-once")


# --- plugins that are wrong


def test_a_plugin_that_cannot_be_imported_is_told_with_its_cause(registry, site):
    site.add_plugin("broken", "broken-plugin", hooks="import no_such_module")
    message = (
        r"'broken' of broken-plugin 1\.0: 'broken_plugin_hooks' cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_module'"
    )

    with pytest.raises(TaskRunnerImportError, match=message) as caught:
        resolve(registry, "broken")

    assert type(caught.value.__cause__) is ModuleNotFoundError


def test_a_class_that_cannot_be_imported_is_told_with_its_cause(registry, site):
    site.add_plugin("broken", "broken-plugin", runner="raise OSError('no engine here')")
    message = (
        r"of broken-plugin 1\.0: 'broken_plugin_runner:AtOnceTaskRunner' cannot be imported: "
        "OSError: no engine here"
    )

    with pytest.raises(TaskRunnerImportError, match=message) as caught:
        resolve(registry, "broken")

    assert type(caught.value.__cause__) is OSError


def test_an_import_that_failed_is_tried_again(registry, site):
    site.add_plugin("at-once", "some-plugin", hooks="import no_such_module")
    with pytest.raises(TaskRunnerImportError):
        resolve(registry, "at-once")
    site.add_module("no_such_module", "")
    site.add_module("some_plugin_hooks", "raise OSError('it is read again')")

    with pytest.raises(TaskRunnerImportError, match="it is read again"):
        resolve(registry, "at-once")


def test_a_plugin_that_was_imported_anew_replaces_itself(registry, site):
    site.add_plugin("at-once", "some-plugin")
    errors = [listed(registry, "at-once").error]
    del sys.modules["some_plugin_hooks"]

    errors += [listed(registry, "at-once").error]

    assert errors == [None, None]


def test_a_plugin_that_exits_ends_nothing(registry, site):
    site.add_plugin("quitter", "quitting-plugin", hooks="raise SystemExit(3)")

    with pytest.raises(TaskRunnerImportError, match="SystemExit: 3"):
        resolve(registry, "quitter")


def test_a_misspelt_hook_is_told(registry, site):
    hooks = """
        from runnerstone.task_runners import hookimpl

        @hookimpl
        def runnerstone_task_runner():
            return []
    """
    site.add_plugin("typo", "typo-plugin", hooks=hooks)
    message = r"'typo_plugin_hooks' of typo-plugin 1\.0 .*unknown hook 'runnerstone_task_runner'"

    with pytest.raises(InvalidTaskRunnerError, match=message):
        resolve(registry, "typo")


def test_a_misspelt_hook_is_told_every_time(registry, site):
    hooks = """
        from runnerstone.task_runners import hookimpl

        @hookimpl
        def runnerstone_task_runner():
            return []
    """
    site.add_plugin("typo", "typo-plugin", hooks=hooks)

    errors = [listed(registry, "typo").error for _ in range(2)]

    assert all("unknown hook" in str(error) for error in errors)


def test_a_hook_with_an_unknown_argument_is_told(registry, site):
    hooks = """
        from runnerstone.task_runners import hookimpl

        @hookimpl
        def runnerstone_task_runners(config):
            return []
    """
    site.add_plugin("eager", "eager-plugin", hooks=hooks)

    errors = [listed(registry, "eager").error for _ in range(2)]

    assert all("config" in str(error) for error in errors)


def test_a_plugin_that_fails_leaves_the_others_alone(registry, site):
    hooks = """
        from runnerstone.task_runners import hookimpl

        @hookimpl
        def runnerstone_task_runner():
            return []
    """
    site.add_plugin("typo", "a-typo-plugin", hooks=hooks)
    site.add_plugin("at-once", "some-plugin")

    failed, working = listed(registry, "typo"), listed(registry, "at-once")

    assert (failed.spec, type(failed.error)) == (None, InvalidTaskRunnerError)
    assert (working.spec.name, working.error) == ("at-once", None)


def test_an_entry_point_and_its_spec_have_to_agree(registry, site):
    site.add_plugin("at-once", "some-plugin")
    site.add_distribution("other-plugin", {"at-last": "some_plugin_hooks"})
    message = "entry point for a task runner 'at-last', .* announces 'at-once'; .* equal"

    with pytest.raises(InvalidTaskRunnerError, match=message):
        resolve(registry, "at-last")


def test_a_hook_without_its_marker_is_told(registry, site):
    hooks = """
        def runnerstone_task_runners():
            return []
    """
    site.add_plugin("unmarked", "unmarked-plugin", hooks=hooks)

    with pytest.raises(InvalidTaskRunnerError, match=r"announces none; .* runnerstone\.hookimpl"):
        resolve(registry, "unmarked")


def test_a_hook_that_raises_is_told(registry, site):
    hooks = """
        from runnerstone.task_runners import hookimpl

        @hookimpl
        def runnerstone_task_runners():
            raise ValueError("no specs today")
    """
    site.add_plugin("moody", "moody-plugin", hooks=hooks)
    message = (
        "the hook runnerstone_task_runners in 'moody_plugin_hooks' raised ValueError: no specs"
    )

    with pytest.raises(TaskRunnerImportError, match=message):
        resolve(registry, "moody")


def test_a_hook_that_returns_something_else_is_told(registry, site):
    hooks = """
        from runnerstone.task_runners import hookimpl

        @hookimpl
        def runnerstone_task_runners():
            return ["at-once"]
    """
    site.add_plugin("stringy", "stringy-plugin", hooks=hooks)

    with pytest.raises(
        InvalidTaskRunnerError, match="TaskRunnerSpec, and there is 'at-once' in it"
    ):
        resolve(registry, "stringy")


def test_a_reserved_name_stays_the_built_in_runner_s(registry, site):
    site.add_plugin("sequential", "squatting-plugin")

    assert type(resolve(registry, "sequential")) is SequentialTaskRunner


@pytest.mark.parametrize("name", ["sequential", "Concurrent"])
def test_a_plugin_that_claims_a_reserved_name_is_set_aside(registry, site, name):
    site.add_plugin(name, "squatting-plugin")

    error = listed(registry, f"{name.casefold()}@squatting-plugin").error

    assert "squatting-plugin 1.0 announces" in str(error)
    assert "the name of a built-in one" in str(error)


def test_a_name_that_no_choice_can_express_is_set_aside(registry, site):
    site.add_plugin("a@b", "odd-plugin")

    assert "no name has ':' or '@' in it" in str(listed(registry, "a@b").error)


def test_a_class_of_something_else_is_refused(registry, site):
    site.add_plugin("odd", "odd-plugin", runner="class AtOnceTaskRunner: ...")
    message = r"task runner 'odd' of odd-plugin 1\.0 is <class .*, which is no TaskRunner"

    with pytest.raises(InvalidTaskRunnerError, match=message):
        resolve(registry, "odd")


def test_a_distribution_that_lost_its_metadata_is_listed(registry, site):
    site.add_plugin("at-once", "some-plugin")
    (site.folder / "some_plugin-1.0.dist-info" / "METADATA").unlink()

    assert listed(registry, "at-once").error is None


# --- paths and objects that are wrong


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("no_such_module:Runner", "cannot be imported: ModuleNotFoundError: No module named"),
        ("runnerstone.task_runners:Sequential", "has no 'Sequential'; did you mean 'Sequential"),
        ("math:Runner", "module 'math' has no 'Runner'; its task runners: none"),
        (":Runner", "is no path of a task runner: write 'package.module:Class'"),
        ("math:", "is no path of a task runner: write 'package.module:Class'"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(registry, choice, message):
    with pytest.raises(TaskRunnerImportError, match=message):
        resolve(registry, choice)


@pytest.mark.parametrize("choice", ["math:sin", "builtins:dict", 3, dict, ["sequential"]])
def test_what_is_no_task_runner_is_refused(registry, choice):
    with pytest.raises(InvalidTaskRunnerError, match="is no TaskRunner: choose a name"):
        resolve(registry, choice)


@pytest.mark.parametrize("choice", [HidingTaskRunner, HidingTaskRunner(3)])
def test_a_class_that_hides_its_settings_is_refused(registry, choice):
    with pytest.raises(InvalidTaskRunnerError, match="hides its settings"):
        resolve(registry, choice)


def test_an_abstract_class_is_refused(registry):
    with pytest.raises(InvalidTaskRunnerError, match="lacks submit"):
        resolve(registry, TaskRunner)


# --- the listing


def test_the_listing_is_in_the_order_of_names(registry, site):
    site.add_plugin("zebra", "a-plugin")
    site.add_plugin("antelope", "b-plugin")

    names = [found.name for found in registry.installed()]

    assert names == sorted(names)
    assert {"antelope", "concurrent", "sequential", "zebra"} <= set(names)


def test_the_listing_tells_who_announces_what(registry, site):
    site.add_plugin("at-once", "some-plugin")

    found = listed(registry, "at-once")

    assert (found.distribution, found.version) == ("some-plugin", "1.0")
    assert (found.spec.path, found.spec.summary) == (
        "some_plugin_runner:AtOnceTaskRunner",
        "Runs calls at once.",
    )
    assert found.load_seconds > 0


def test_registries_share_nothing(site):
    first, second = Registry(), Registry()
    site.add_plugin("at-once", "some-plugin")

    found = [listed(registry, "at-once").error for registry in (first, second)]

    assert found == [None, None]
