"""A task runner's settings and a flow's parameters, given as text."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

import attrs

from runnerstone._names import suggestion
from runnerstone.errors import FlowParameterError, RunnerstoneError, TaskRunnerSettingError

if TYPE_CHECKING:
    from runnerstone.contracts import TaskRunner

_FACTORY: Final[type] = type(attrs.Factory(list))  # declared as a function, for type checkers
RunnerT = TypeVar("RunnerT", bound="TaskRunner")


@attrs.frozen(kw_only=True)
class _Input:
    """One value that can be given: a setting or a parameter.

    Attributes:
        annotation: As it is written; a string where the author's module postpones evaluation.
        default: `attrs.NOTHING` if there is none.
        scope: The names that the annotation may use.
    """

    name: str
    annotation: Any
    default: Any
    scope: Mapping[str, Any]

    def __str__(self) -> str:
        from runnerstone._conversions import written  # slow to load

        annotated = self.annotation is not inspect.Parameter.empty
        text = f"{self.name}: {written(self.annotation)}" if annotated else self.name
        if self.default is attrs.NOTHING:
            return text
        default = "..." if isinstance(self.default, _FACTORY) else repr(self.default)
        return f"{text} = {default}" if annotated else f"{text}={default}"

    def convert(self, text: str) -> Any:
        """Raises ValueError with what is expected."""
        from runnerstone._conversions import convert, written  # slow to load

        holder = SimpleNamespace(__annotations__={"it": self.annotation})
        try:
            annotation = get_type_hints(holder, dict(self.scope))["it"]
        except Exception as error:
            raise ValueError(
                f"the annotation {written(self.annotation)} cannot be evaluated ({error}); "
                "import what it names where the module runs, not under TYPE_CHECKING"
            ) from error
        return convert(text, annotation)


@attrs.frozen(kw_only=True)
class _Inputs:
    """All that one class or function can be given, and how to refuse what it cannot.

    Attributes:
        owner: The class or the function, for messages.
        kind: What one value is called there.
        refusal: The exception to raise.
    """

    owner: str
    kind: str
    refusal: type[RunnerstoneError]
    by_name: Mapping[str, _Input]

    def values(self, texts: Mapping[str, str]) -> dict[str, Any]:
        values = {}
        for name, text in texts.items():
            if name not in self.by_name:
                raise self.refusal(
                    f"{self.owner} has no {self.kind} {name!r}, given as {text!r}"
                    f"{suggestion(name, self.by_name, self._listing())}"
                )
            try:
                values[name] = self.by_name[name].convert(text)
            except ValueError as error:
                raise self.refusal(
                    f"{self.kind} {name}={text!r} does not fit {self.owner}: {error}; "
                    f"{self._listing()}"
                ) from error
        return values

    def require_all(self, given: Mapping[str, Any]) -> None:
        missing = [
            name
            for name, input_ in self.by_name.items()
            if input_.default is attrs.NOTHING and name not in given
        ]
        if missing:
            raise self.refusal(
                f"{self.owner} needs a value for {', '.join(missing)}; {self._listing()}"
            )

    def _listing(self) -> str:
        return f"its {self.kind}s: {', '.join(map(str, self.by_name.values())) or 'none'}"


def with_settings(runner: RunnerT, texts: Mapping[str, str]) -> RunnerT:
    """A task runner like `runner`, but for the settings given as text.

    Raises:
        TaskRunnerSettingError: If there is no such setting, or the text or its value does not fit.
    """
    values = _settings(type(runner)).values(texts)
    with _refusals(type(runner), values):
        return attrs.evolve(runner, **values)  # type: ignore[misc]  # every concrete subclass is an attrs class


def new_task_runner(cls: type[RunnerT], texts: Mapping[str, str]) -> RunnerT:
    """An instance with the settings given as text, and the defaults of the others.

    Raises:
        TaskRunnerSettingError: Likewise; also if a setting without a default is not given.
    """
    values: dict[str, Any] = {}
    if texts or any(field.default is attrs.NOTHING for field in _fields(cls)):
        settings = _settings(cls)
        values = settings.values(texts)
        settings.require_all(values)
    with _refusals(cls, values):
        return cls(**values)


def parameters_from_text(fn: Callable[..., object], texts: Mapping[str, str]) -> dict[str, Any]:
    """The arguments, by name, that `texts` stand for where `fn` is called.

    Args:
        fn: The plain function; its annotations say what the texts become.

    Raises:
        FlowParameterError: If there is no such parameter, one is missing, or a text does not fit.
    """
    scope = getattr(inspect.unwrap(fn), "__globals__", {})
    parameters = inspect.signature(fn).parameters.values()
    by_name = {
        parameter.name: _Input(
            name=parameter.name,
            annotation=parameter.annotation,
            default=attrs.NOTHING if parameter.default is parameter.empty else parameter.default,
            scope=scope,
        )
        for parameter in parameters
        if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
    }
    inputs = _Inputs(
        owner=f"{getattr(fn, '__name__', type(fn).__name__)}()",
        kind="parameter",
        refusal=FlowParameterError,
        by_name=by_name,
    )
    values = inputs.values(texts)
    inputs.require_all(values)
    return values


def _settings(cls: "type[TaskRunner]") -> _Inputs:
    return _Inputs(
        owner=cls.__qualname__,
        kind="setting",
        refusal=TaskRunnerSettingError,
        by_name={it.name: it for it in (_setting(cls, field) for field in _fields(cls))},
    )


def _fields(cls: "type[TaskRunner]") -> "list[attrs.Attribute[Any]]":
    fields = attrs.fields(cls)  # type: ignore[arg-type]  # every concrete subclass is an attrs class
    return [field for field in fields if field.init]


def _setting(cls: type, field: "attrs.Attribute[Any]") -> _Input:
    home = next((base for base in cls.__mro__ if field.name in inspect.get_annotations(base)), cls)
    return _Input(
        name=field.alias or field.name,
        annotation=inspect.Parameter.empty if field.type is None else field.type,
        default=field.default,
        scope=vars(sys.modules[home.__module__]) | vars(home),
    )


@contextmanager
def _refusals(cls: type, values: Mapping[str, Any]) -> Iterator[None]:
    """Translate what a validator, a converter or ``__attrs_post_init__`` raises."""
    try:
        yield
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise TaskRunnerSettingError(
            f"{cls.__qualname__}({given}) is refused by the class itself: {error}"
        ) from error
