from __future__ import annotations

import functools
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from runnerstone._settings import new_task_runner, parameters_from_text, with_settings
from runnerstone.errors import FlowParameterError, TaskRunnerSettingError
from runnerstone.task_runners import Report, TaskCall, TaskRunner

if TYPE_CHECKING:
    from decimal import Decimal


class PoolTaskRunner(TaskRunner):
    class Mode(Enum):
        EAGER = 1

    max_workers: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    folder: Path | None = None
    tags: list[str] = attrs.field(factory=list)
    _secret: str = "none"
    mode: Mode | None = None
    limit: int = attrs.field(default=0, init=False)

    def submit(self, call: TaskCall, report: Report) -> None:
        raise NotImplementedError


class NamedPoolTaskRunner(PoolTaskRunner):
    name: str
    price: Decimal | None = None


# --- settings


def test_text_becomes_the_type_of_its_setting():
    runner = with_settings(PoolTaskRunner(), {"max_workers": "8", "folder": "/srv", "tags": "[]"})

    assert runner == PoolTaskRunner(max_workers=8, folder=Path("/srv"))


def test_a_setting_s_type_may_be_the_runner_s_own():
    runner = with_settings(PoolTaskRunner(), {"mode": "EAGER"})

    assert runner.mode is PoolTaskRunner.Mode.EAGER


def test_the_other_settings_stay():
    runner = with_settings(PoolTaskRunner(max_workers=2, tags=["a"]), {"folder": "x"})

    assert runner == PoolTaskRunner(max_workers=2, tags=["a"], folder=Path("x"))


def test_the_runner_that_was_given_stays_as_it_is():
    runner = PoolTaskRunner()

    with_settings(runner, {"max_workers": "8"})

    assert runner == PoolTaskRunner()


def test_a_private_setting_has_its_public_name():
    assert with_settings(PoolTaskRunner(), {"secret": "s"}) == PoolTaskRunner(secret="s")


def test_an_unknown_setting_gets_the_nearest_and_all_there_are():
    message = (
        "PoolTaskRunner has no setting 'max_worker', given as '8'; did you mean 'max_workers'[?] "
        r"its settings: max_workers: int = 4, folder: Path \| None = None, tags: list\[str\] = "
    )

    with pytest.raises(TaskRunnerSettingError, match=message):
        with_settings(PoolTaskRunner(), {"max_worker": "8"})


def test_a_field_that_is_no_setting_is_unknown():
    with pytest.raises(TaskRunnerSettingError, match="has no setting 'limit'"):
        with_settings(PoolTaskRunner(), {"limit": "8"})


@pytest.mark.parametrize("text", ["3.7", "four", ""])
def test_a_value_that_does_not_fit_is_told_with_the_type_and_the_class(text):
    message = f"setting max_workers='{text}' does not fit PoolTaskRunner: int is expected; its sett"

    with pytest.raises(TaskRunnerSettingError, match=message):
        with_settings(PoolTaskRunner(), {"max_workers": text})


def test_what_a_validator_refuses_is_told_with_its_reason():
    message = r"PoolTaskRunner\(max_workers=0\) is refused by the class itself: .* must be >= 1"

    with pytest.raises(TaskRunnerSettingError, match=message) as caught:
        with_settings(PoolTaskRunner(), {"max_workers": "0"})

    assert type(caught.value.__cause__) is ValueError


def test_a_new_runner_has_its_defaults():
    assert new_task_runner(PoolTaskRunner, {}) == PoolTaskRunner()


def test_a_new_runner_without_a_setting_that_it_needs_is_refused():
    message = r"NamedPoolTaskRunner needs a value for name; its settings: .* name: str, price"

    with pytest.raises(TaskRunnerSettingError, match=message):
        new_task_runner(NamedPoolTaskRunner, {"max_workers": "2"})


def test_a_new_runner_takes_what_it_needs_as_text():
    runner = new_task_runner(NamedPoolTaskRunner, {"name": "7", "max_workers": "2"})

    assert runner == NamedPoolTaskRunner(name="7", max_workers=2)


def test_an_annotation_that_cannot_be_evaluated_is_told():
    message = r"'Decimal \| None' cannot be evaluated .*; import what it names"

    with pytest.raises(TaskRunnerSettingError, match=message.replace("'", "")):
        new_task_runner(NamedPoolTaskRunner, {"name": "a", "price": "1"})


# --- parameters


def census(folder: Path, top: int = 10, *, strict: bool = False, note=None) -> None: ...


def test_text_becomes_the_type_of_its_parameter():
    values = parameters_from_text(census, {"folder": "/x", "top": "5", "strict": "yes"})

    assert values == {"folder": Path("/x"), "top": 5, "strict": True}


def test_a_parameter_without_annotation_is_json_or_text():
    values = parameters_from_text(census, {"folder": "x", "note": "[1]"})

    assert values["note"] == [1]


def test_an_unknown_parameter_gets_the_nearest_and_all_there_are():
    message = (
        r"census\(\) has no parameter 'fodler', given as 'x'; did you mean 'folder'[?] "
        "its parameters: folder: Path, top: int = 10, strict: bool = False, note=None"
    )

    with pytest.raises(FlowParameterError, match=message):
        parameters_from_text(census, {"fodler": "x"})


def test_a_missing_parameter_is_told():
    with pytest.raises(FlowParameterError, match=r"census\(\) needs a value for folder; its param"):
        parameters_from_text(census, {"top": "5"})


def test_a_parameter_that_does_not_fit_is_told_with_the_type():
    message = r"parameter top='many' does not fit census\(\): int is expected; its parameters: "

    with pytest.raises(FlowParameterError, match=message):
        parameters_from_text(census, {"folder": "x", "top": "many"})


def test_a_function_without_parameters_says_so():
    def empty() -> None: ...

    with pytest.raises(FlowParameterError, match=r"has no parameter 'x', .*; its parameters: none"):
        parameters_from_text(empty, {"x": "1"})


def test_only_the_annotations_that_are_needed_are_evaluated():
    def priced(count: int, price: Decimal | None = None) -> None: ...

    assert parameters_from_text(priced, {"count": "1"}) == {"count": 1}


def test_a_wrapped_function_is_read_through_its_wrapper():
    wrapper = eval("lambda *args, **kwargs: None", {})
    functools.update_wrapper(wrapper, census)

    assert parameters_from_text(wrapper, {"folder": "x"}) == {"folder": Path("x")}


def test_a_function_with_keywords_takes_those_that_it_names():
    def free(count: int, *rest: int, **options: int) -> None: ...

    with pytest.raises(FlowParameterError, match="has no parameter 'options'"):
        parameters_from_text(free, {"count": "1", "options": "2"})
