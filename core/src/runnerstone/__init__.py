"""Ordinary functions as tasks, flows that call them, and task runners that run them."""

from runnerstone.errors import RunnerstoneError
from runnerstone.flows import Flow, flow
from runnerstone.futures import TaskFuture
from runnerstone.hookspecs import hookimpl
from runnerstone.runs import FlowRun, TaskRun
from runnerstone.states import Cancelled, Completed, Crashed, Failed, State, StateType
from runnerstone.tasks import Task, task

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
    "TaskRun",
    "flow",
    "hookimpl",
    "task",
]
