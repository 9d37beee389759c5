"""What the code of a flow or of a task can ask about the run that it is in."""

import logging
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import attrs

from runnerstone._context import current_run
from runnerstone.errors import NotInRunError

if TYPE_CHECKING:
    from runnerstone.contracts import TaskRunner
    from runnerstone.runs import FlowRun

__all__ = [
    "FlowRunContext",
    "RunLogger",
    "TaskRunContext",
    "get_run_context",
    "get_run_logger",
    "tags",
]

# Labels of the runs that begin in this context, beside those that they were declared with.
ambient_tags: Final[ContextVar[frozenset[str]]] = ContextVar(
    "runnerstone_tags",
    default=frozenset(),  # it cannot be changed
)


@attrs.frozen(kw_only=True)
class FlowRunContext:
    """A flow run, as its body knows it; in the driver.

    Attributes:
        flow_run: The record, as it stands.
        task_runner: The started copy of the task runner, where the flow run's tasks run.
        tags: The flow run's labels, and those of the ``with tags(...)`` around.
        attempt: Which attempt at the flow run this is, from 1.
    """

    flow_run: "FlowRun[Any]"
    task_runner: "TaskRunner"
    tags: frozenset[str]
    attempt: int


@attrs.frozen(kw_only=True)
class TaskRunContext:
    """A task run, as its function knows it; wherever that runs.

    Attributes:
        task_run_name: The run's name.
        task_name: The task's.
        number: Which run of its task this is within the flow run, from 0.
        attempt: Which attempt at the run this is, from 1.
        tags: The run's labels.
        flow_run_id: Unique among all flow runs.
        flow_run_name: The flow run's name.
        flow_name: The flow's.
    """

    task_run_name: str
    task_name: str
    number: int
    attempt: int
    tags: frozenset[str]
    flow_run_id: str
    flow_run_name: str
    flow_name: str


def get_run_context() -> FlowRunContext | TaskRunContext:
    """What the innermost run is: the task run in a task, on every task runner, else the flow run.

    Raises:
        NotInRunError: If neither a flow's nor a task's function runs here.
    """
    run = current_run.get()
    if run is None:
        raise NotInRunError(
            "there is no run here: the context can be had in the function of a task that a flow "
            "has submitted, or of a flow, and in threads that have a copy of its context "
            "(contextvars.copy_context)"
        )
    context: FlowRunContext | TaskRunContext = run.run_context()
    return context


@contextmanager
def tags(*labels: str) -> Iterator[frozenset[str]]:
    """Label all runs that begin inside, beside the labels that they have otherwise.

    Gives all labels that hold inside: those of the ``with tags(...)`` around count, too.
    """
    for label in labels:
        if not isinstance(label, str):
            raise TypeError(f"tags are strings, which {label!r} is not")
    token = ambient_tags.set(ambient_tags.get() | frozenset(labels))
    try:
        yield ambient_tags.get()
    finally:
        ambient_tags.reset(token)


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs under the run's name, which it puts in front of each message.

    Records have the names of the run and of what it belongs to as attributes: ``flow_run_name`` and
    ``flow_name``, in tasks also ``task_run_name`` and ``task_name``.
    """

    def __init__(self, logger: logging.Logger, extra: Mapping[str, object], title: str) -> None:
        """Log for a run.

        Args:
            logger: Where to.
            extra: The records' attributes.
            title: What is put in front; empty if there is no run.
        """
        super().__init__(logger, extra)
        self._title = title

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message; see `logging.Logger.log`."""
        if not self.isEnabledFor(level):
            return
        options: MutableMapping[str, Any] = kwargs
        options["extra"] = {**(self.extra or {}), **(options.get("extra") or {})}
        options["stacklevel"] = options.get("stacklevel", 1) + 1
        if self._title:
            title = self._title.replace("%", "%%") if args else self._title
            msg = f"{title} - {msg}"
        self.logger.log(level, msg, *args, **options)


def get_run_logger() -> RunLogger:
    """The logger of the innermost run; where there is none, a plain one.

    Its records go through the loggers ``runnerstone.flow_runs`` and ``runnerstone.task_runs`` of
    the driver. What a task logs in another process is handed over with the call's end, before the
    run is final; what a worker that dies had not handed over is lost.
    """
    run = current_run.get()
    if run is None:
        return RunLogger(logging.getLogger("runnerstone"), {}, "")
    logger: RunLogger = run.run_logger()
    return logger
