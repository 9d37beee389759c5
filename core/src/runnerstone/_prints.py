"""Have what is printed in runs that ask for it logged instead."""

import builtins
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from runnerstone._context import current_run
from runnerstone.contexts import get_run_logger

_lock: Final = threading.Lock()  # guards what follows, and `builtins.print`
_users = 0
_print: Callable[..., None] = builtins.print


@contextmanager
def logging_prints() -> Iterator[None]:
    """Log, on this run's logger, what is printed in this context; other contexts print on.

    `print` is replaced while any run asks for it, and put back then.
    """
    global _users, _print  # noqa: PLW0603  # a process has one print
    with _lock:
        _users += 1
        if builtins.print is not _print_or_log:  # somebody may have put it back, or put it there
            _print = builtins.print
            builtins.print = _print_or_log
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users and builtins.print is _print_or_log:
                builtins.print = _print


def _print_or_log(
    *values: object,
    sep: str | None = " ",
    end: str | None = "\n",
    file: Any = None,
    flush: bool = False,
) -> None:
    run = current_run.get()
    to_terminal = file is None or file is sys.stdout or file is sys.stderr
    is_text = sep is None or isinstance(sep, str)
    if not (to_terminal and is_text) or run is None or not run.logs_prints or _printing.is_on:
        _print(*values, sep=sep, end=end, file=file, flush=flush)
        return
    text = (" " if sep is None else sep).join(map(str, values))
    _printing.is_on = True
    try:
        get_run_logger().info("%s", text, stacklevel=2)
    finally:
        _printing.is_on = False


class _Printing(threading.local):
    """Whether this thread logs what was printed: a handler of the user's may print in turn."""

    is_on = False


_printing: Final = _Printing()
