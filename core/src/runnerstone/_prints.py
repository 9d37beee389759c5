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
        if _users == 1:
            _print = builtins.print
            builtins.print = _print_or_log
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users and builtins.print is _print_or_log:
                builtins.print = _print


def _print_or_log(*values: object, sep: str | None = " ", file: Any = None, **options: Any) -> None:
    run = current_run.get()
    to_terminal = file is None or file is sys.stdout or file is sys.stderr
    if to_terminal and run is not None and run.logs_prints:
        text = (" " if sep is None else sep).join(map(str, values))
        get_run_logger().info("%s", text, stacklevel=2)
    else:
        _print(*values, sep=sep, file=file, **options)
