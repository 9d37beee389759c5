"""Ordinary functions as tasks, flows that call them, and task runners that run them."""

from runnerstone.annotations import allow_failure, quote, unmapped
from runnerstone.contexts import get_run_context, get_run_logger, tags
from runnerstone.delays import exponential_backoff
from runnerstone.errors import RunnerstoneError
from runnerstone.flows import Flow, flow
from runnerstone.future_lists import TaskFutureList
from runnerstone.futures import TaskFuture
from runnerstone.hookimpls import hookimpl
from runnerstone.runs import FlowRun, TaskRun
from runnerstone.states import Cancelled, Completed, Crashed, Failed, State, StateType, TimedOut
from runnerstone.tasks import Task, task
from runnerstone.waits import as_completed, wait

__all__ = [
    "Cancelled",
    "Completed",
    "Crashed",
    "Failed",
    "Flow",
    "FlowRun",
    "RunnerstoneError",
    "State",
    "StateType",
    "Task",
    "TaskFuture",
    "TaskFutureList",
    "TaskRun",
    "TimedOut",
    "allow_failure",
    "as_completed",
    "exponential_backoff",
    "flow",
    "get_run_context",
    "get_run_logger",
    "hookimpl",
    "quote",
    "tags",
    "task",
    "unmapped",
    "wait",
]
