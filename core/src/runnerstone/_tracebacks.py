"""Tracebacks as users want them: without this library's own frames.

``RUNNERSTONE_TRACEBACK=full``, in the environment, leaves them all there.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Final

VARIABLE: Final = "RUNNERSTONE_TRACEBACK"
# By the beginnings of modules' names. The suite's tasks stand for a user's.
_OURS: Final = ("runnerstone.", "runnerstone_")
_NOT_OURS: Final = "runnerstone.testing."
# What an event loop does between our code and the user's first coroutine.
_BETWEEN: Final = ("asyncio.",)


def hide_frames(error: BaseException) -> None:
    """Take the library's own frames out of the tracebacks of an exception and its origins.

    To be called in an ``except`` block that ends with a bare ``raise``: that adds no frame.
    """
    if os.environ.get(VARIABLE) == "full":
        return
    for one in with_origins(error):
        one.__traceback__ = _without_ours(one.__traceback__)


def with_origins(error: BaseException) -> Iterator[BaseException]:
    """The exception, and all that it came from or that it groups, each once."""
    seen: set[int] = set()
    rest: list[BaseException | None] = [error]
    while rest:
        one = rest.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        rest += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            rest += one.exceptions


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    entries = []
    is_below_ours = False
    entry = traceback
    while entry is not None:
        module = entry.tb_frame.f_globals.get("__name__", "")
        if module.startswith(_OURS) and not module.startswith(_NOT_OURS):
            is_below_ours = True
        elif not (is_below_ours and module.startswith(_BETWEEN)):
            is_below_ours = False
            entries.append(entry)
        entry = entry.tb_next
    rest: TracebackType | None = None
    for entry in reversed(entries):
        if entry.tb_next is not rest:
            line: int | None = entry.tb_lineno  # None where an instruction belongs to no line
            line = -1 if line is None else line
            entry = TracebackType(rest, entry.tb_frame, entry.tb_lasti, line)  # noqa: PLW2901
        rest = entry
    return rest


def with_note(error: BaseException, note: str | None) -> BaseException:
    """The exception, with a note that it has once."""
    if note is not None:
        with suppress(Exception):  # a class of the user's may have notes of its own kind
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
    return error
