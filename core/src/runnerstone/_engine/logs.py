"""The engine's log: two loggers, and a handler for scripts that configured none."""

import logging
import sys
from typing import Final, TextIO

flow_log: Final = logging.getLogger("runnerstone.flow_runs")
task_log: Final = logging.getLogger("runnerstone.task_runs")

_library_log: Final = logging.getLogger("runnerstone")


class _ScriptHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever ``sys.stderr`` is then, until the application configures logging."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(
            logging.Formatter("%(asctime)s.%(msecs)03d | %(message)s", datefmt="%H:%M:%S")
        )

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # the base class keeps a stream, this one looks it up
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.root.handlers:
            super().emit(record)


def show_logs() -> None:
    """Show the library's log on stderr, unless the application configured logging."""
    if not _library_log.hasHandlers():
        _library_log.addHandler(_ScriptHandler())
        if _library_log.level == logging.NOTSET:
            _library_log.setLevel(logging.INFO)
