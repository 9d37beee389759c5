"""What a call logs in another process, kept until it can be handed over to the driver."""

import logging
from typing import Any, Final

from runnerstone._pickles import safe_repr

_PLAIN: Final = {str, int, float, bool, type(None)}
_formatter: Final = logging.Formatter()


class RecordKeeper(logging.Handler):
    """Keeps records as they can travel: the attributes of each, as ``makeLogRecord`` takes them.

    Attributes:
        logger: Gives this handler what is logged, and nobody else.
        records: What was logged, in order.
    """

    def __init__(self, name: str, level: int) -> None:
        """Keep what is logged.

        Args:
            name: The logger's, in the records.
            level: What is below it is not kept.
        """
        super().__init__()
        self.records: list[dict[str, Any]] = []
        self.logger = logging.Logger(name, level)  # noqa: LOG001  # nobody else's
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; of one that cannot be formatted, stderr is told, as by other handlers."""
        try:
            self._keep(record)
        except Exception:  # noqa: BLE001  # a user's __str__ may raise anything
            self.handleError(record)

    def _keep(self, record: logging.LogRecord) -> None:
        attributes = dict(vars(record))
        attributes["msg"] = record.getMessage()
        attributes["args"] = None
        if record.exc_info:
            attributes["exc_text"] = _formatter.formatException(record.exc_info)
            attributes["exc_info"] = None
        self.records.append(
            {
                name: value if type(value) in _PLAIN else safe_repr(value)
                for name, value in attributes.items()
            }
        )


def record_of(attributes: dict[str, Any]) -> logging.LogRecord:
    """A record that was kept in another process.

    As `logging.makeLogRecord` makes it, but for the application's factory, which has been asked in
    the other process, and need not cope with a record without a name.
    """
    record = logging.LogRecord("", 0, "", 0, "", (), None)
    vars(record).update(attributes)
    return record
