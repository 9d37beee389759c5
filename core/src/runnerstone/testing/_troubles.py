"""Values that cannot travel, and functions that raise, for workers to import."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class Unpicklable:
    """What cannot travel, and says so."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("this object stays at home")


class DomainError(Exception):
    """An exception of the user's own, with an attribute."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason, code)
        self.code = code


class FormattingError(Exception):
    """An exception whose arguments are not its constructor's, so that pickle cannot rebuild it."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(f"{reason} ({code})")


class UnpicklableError(Exception):
    """An exception that cannot travel."""

    def __init__(self) -> None:
        super().__init__("with baggage")
        self.baggage = Unpicklable()


def raise_domain_error() -> NoReturn:
    """Raise an exception of the user's own."""
    raise DomainError("out of stock", 7)


def raise_formatting_error() -> NoReturn:
    """Raise an exception that pickle cannot rebuild."""
    raise FormattingError("out of stock", 7)


def raise_unpicklable_error() -> NoReturn:
    """Raise an exception that cannot be pickled."""
    raise UnpicklableError


def raise_with_cause() -> NoReturn:
    """Raise an exception that has another for its cause."""
    raise DomainError("out of stock", 7) from KeyError("shelf")


def raise_group() -> NoReturn:
    """Raise two exceptions at once."""
    raise ExceptionGroup("both", [ValueError("first"), DomainError("out of stock", 7)])


def raise_keyboard_interrupt() -> NoReturn:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


def raise_system_exit() -> NoReturn:
    """Raise what `sys.exit` raises."""
    raise SystemExit(3)


def raise_recursion_error() -> NoReturn:
    """Raise what endless recursion raises."""
    raise_recursion_error()


def raise_cancelled_error() -> NoReturn:
    """Raise what cancelling a coroutine raises."""
    raise asyncio.CancelledError


def raise_value_error() -> NoReturn:
    """Raise an ordinary exception."""
    raise ValueError("ordinary")


def make_unpicklable() -> Unpicklable:
    """A value that cannot travel."""
    return Unpicklable()


def raise_memory_error() -> NoReturn:
    """Raise what a value raises that is too large to unpickle."""
    raise MemoryError("too large for this process")


class Unloadable:
    """What can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[Callable[[], NoReturn], tuple[()]]:
        return raise_memory_error, ()


def die_first(path: Path) -> str:
    """End the process if the file is absent, and leave it there; else say so."""
    with path.open("a", encoding="utf-8") as file:
        file.write("begun\n")
    if len(path.read_text(encoding="utf-8").splitlines()) == 1:
        os._exit(1)
    return "alive"


def die() -> NoReturn:
    """End the process, with no chance to say anything."""
    os._exit(1)
