"""How plugins mark what they implement; `hookspecs` says what there is to implement."""

from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

__all__ = ["hookimpl"]

PROJECT: Final = "runnerstone"
F = TypeVar("F", bound=Callable[..., Any])


@overload
def hookimpl(function: F, /) -> F: ...
@overload
def hookimpl(**options: Any) -> Callable[[F], F]: ...
def hookimpl(function: Any = None, /, **options: Any) -> Any:
    """Mark a function as a plugin's implementation of the hook of its name.

    Args:
        function: The function.
        options: Those of ``pluggy.HookimplMarker``, such as ``tryfirst=True``.
    """
    import pluggy  # noqa: PLC0415  # slow to load, and only plugins need it

    return pluggy.HookimplMarker(PROJECT)(function, **options)
