"""What is known of the functions that are decorated."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

_MANY: Final = sys.maxsize


class Method(Protocol[T_contra, P, R_co]):
    """A function in a class, for type checkers: the first argument is what it is got from."""

    def __call__(self, owner: T_contra, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


def name_of(fn: Any) -> str:
    """The name of a function; of a ``functools.partial`` that of what it calls."""
    fn = _called(fn)
    return str(getattr(fn, "__name__", type(fn).__name__))


def description_of(fn: Any) -> str | None:
    """A function's docstring; of a ``functools.partial`` that of what it calls."""
    text = getattr(_called(fn), "__doc__", None)  # getdoc() would look a method up in its class
    return inspect.cleandoc(text) if isinstance(text, str) else None


def function_of(declared: Any) -> Any:
    """What is called of what was decorated: the function in a class method or a static method."""
    return declared.__func__ if isinstance(declared, (classmethod, staticmethod)) else declared


def bound_to(declared: Any, instance: Any, owner: type) -> Any:
    """What is passed first to what was decorated, got from a class; None if nothing is.

    Args:
        declared: What was decorated.
        instance: What it is got from; None if that is the class itself.
        owner: The class.
    """
    if isinstance(declared, classmethod):
        return owner
    # A partial does not become a method, whatever later Pythons make of it.
    is_function = not isinstance(declared, (staticmethod, functools.partial))
    return instance if is_function and hasattr(type(declared), "__get__") else None


def _called(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Whether calls give coroutines, also of objects whose ``__call__`` is an ``async def``."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """The signature of a callable; of one that does not tell, that it takes anything."""
    try:
        return inspect.signature(fn)
    except ValueError:  # some builtins do not tell theirs
        kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        return inspect.Signature(
            [
                inspect.Parameter(name, kind)
                for name, kind in zip(("args", "kwargs"), kinds, strict=True)
            ]
        )


def arity(signature: inspect.Signature) -> tuple[int, int]:
    """Between which numbers of positional arguments a call without keywords fits; none if 1 > 0."""
    least = most = 0
    for parameter in signature.parameters.values():
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = _MANY
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if required:
                return 1, 0
        elif parameter.kind is not parameter.VAR_KEYWORD:
            least += required
            most += 1
    return least, most


def bound_arguments(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments by the parameters' names, defaults and what ``**kwargs`` takes included."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name)
    return arguments
