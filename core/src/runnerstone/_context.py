"""Where the running code stands: the innermost run, and the place it runs in."""

import os
import threading
from contextvars import ContextVar
from typing import Any, Final

# The innermost run: the engine of a flow run in a flow's body, a `TaskCall` in a task's, else None.
# Layers below the engine find it here; only an engine has a `submit`.
current_run: Final[ContextVar[Any]] = ContextVar("runnerstone_current_run", default=None)


def _host() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket  # where there is no uname; it is slow to load

    return socket.gethostname()


class _Place(threading.local):
    """The calling thread's place, made once a thread."""

    def __init__(self) -> None:
        self.text = f"{_host()}:{os.getpid()}/{threading.current_thread().name}"


_place = _Place()


def _forget_place() -> None:
    global _place  # noqa: PLW0603  # a forked child has another pid
    _place = _Place()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_place)


def where() -> str:
    """The calling thread's place, as ``host:pid/thread``."""
    return _place.text
