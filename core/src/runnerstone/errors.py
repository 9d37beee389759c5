"""Everything that runnerstone itself raises.

A task's own exception is never wrapped: it reaches the caller as its own type. What stands here are
faults of use, of a plugin or of the infrastructure::

    RunnerstoneError
    ├── TaskRunnerError                     a task runner cannot be had
    │   ├── UnknownTaskRunnerError          (LookupError)  nothing has that name
    │   ├── TaskRunnerNotInstalledError     (ImportError)  a known name whose package is absent
    │   ├── TaskRunnerImportError           (ImportError)  its package is there and fails to import
    │   ├── AmbiguousTaskRunnerError        (LookupError)  two distributions claim the name
    │   ├── InvalidTaskRunnerError          (TypeError)    the class breaks the contract
    │   ├── TaskRunnerSettingError          (ValueError)   a setting that is unknown or does not fit
    │   └── TaskRunnerStartError            (RuntimeError) what it runs on does not answer or fit
    ├── FlowParameterError                  (ValueError)   a flow's parameter that does not fit
    ├── NotInFlowError                      (RuntimeError) a submission where no flow runs
    ├── NotInRunError                   (RuntimeError) a question about the run where there is none
    ├── FlowRunEndedError                   (RuntimeError) a submission to a flow run that is over
    ├── TaskFailedError                     (RuntimeError) failed, and the exception is not here
    ├── TaskTimeoutError                (TimeoutError) the task run took too long
    ├── TaskCrashedError                    (RuntimeError) the infrastructure lost the run
    ├── FlowFailedError                     (RuntimeError) failed, and no exception says why
    ├── FlowTimeoutError                (TimeoutError) the flow run took too long
    ├── UpstreamNotCompletedError           (RuntimeError) skipped: its upstream did not complete
    ├── TaskCancelledError                  (RuntimeError) the task run was cancelled
    ├── FlowCancelledError                  (RuntimeError) the flow run was cancelled
    ├── UnpicklableError                    (TypeError)    a value that has to travel and cannot
    ├── ValueLostError                      (LookupError)  a value is gone with its worker
    └── ResultGoneError                     (LookupError)  a value went away with its task runner
"""

__all__ = [
    "AmbiguousTaskRunnerError",
    "FlowCancelledError",
    "FlowFailedError",
    "FlowParameterError",
    "FlowRunEndedError",
    "FlowTimeoutError",
    "InvalidTaskRunnerError",
    "NotInFlowError",
    "NotInRunError",
    "ResultGoneError",
    "RunnerstoneError",
    "TaskCancelledError",
    "TaskCrashedError",
    "TaskFailedError",
    "TaskRunnerError",
    "TaskRunnerImportError",
    "TaskRunnerNotInstalledError",
    "TaskRunnerSettingError",
    "TaskRunnerStartError",
    "TaskTimeoutError",
    "UnknownTaskRunnerError",
    "UnpicklableError",
    "UpstreamNotCompletedError",
    "ValueLostError",
]


class RunnerstoneError(Exception):
    """Root of the exceptions that runnerstone raises of its own."""


class TaskRunnerError(RunnerstoneError):
    """A task runner cannot be found, imported or configured."""


class UnknownTaskRunnerError(TaskRunnerError, LookupError):
    """No task runner has the name that was asked for."""


class TaskRunnerNotInstalledError(TaskRunnerError, ImportError):
    """The task runner is known, but its distribution is not installed."""


class TaskRunnerImportError(TaskRunnerError, ImportError):
    """The task runner's distribution is installed, but importing it failed."""


class AmbiguousTaskRunnerError(TaskRunnerError, LookupError):
    """Two distributions provide a task runner of the same name."""


class InvalidTaskRunnerError(TaskRunnerError, TypeError):
    """What was given as a task runner does not keep the contract."""


class TaskRunnerSettingError(TaskRunnerError, ValueError):
    """A setting that the task runner does not have, or a value that does not fit it."""


class TaskRunnerStartError(TaskRunnerError, RuntimeError):
    """What the task runner runs on does not answer, does not fit or cannot be started."""


class FlowParameterError(RunnerstoneError, ValueError):
    """A flow's parameter, given as text, that is unknown, is missing or does not fit."""


class NotInFlowError(RunnerstoneError, RuntimeError):
    """A task was submitted where no flow's body is running."""


class NotInRunError(RunnerstoneError, RuntimeError):
    """The context of the run was asked for where neither a flow's nor a task's function runs."""


class FlowRunEndedError(RunnerstoneError, RuntimeError):
    """A task was submitted to a flow run that takes no more task runs."""


class TaskFailedError(RunnerstoneError, RuntimeError):
    """A task run failed and its exception is not available in this process: the text tells it."""


class TaskTimeoutError(RunnerstoneError, TimeoutError):
    """A task run took longer than its ``timeout_seconds``."""


class TaskCrashedError(RunnerstoneError, RuntimeError):
    """The infrastructure, not the user's code, ended a task run."""


class FlowFailedError(RunnerstoneError, RuntimeError):
    """A flow run ended as failed without an exception, for example by a returned state."""


class FlowTimeoutError(RunnerstoneError, TimeoutError):
    """A flow run took longer than its ``timeout_seconds``."""


class UpstreamNotCompletedError(RunnerstoneError, RuntimeError):
    """A task run was skipped because a run that it depends on did not complete."""


class TaskCancelledError(RunnerstoneError, RuntimeError):
    """The task run was cancelled.

    An `Exception`, unlike `asyncio.CancelledError`: awaiting a cancelled run does not cancel the
    task that awaits.
    """


class FlowCancelledError(RunnerstoneError, RuntimeError):
    """The flow run was cancelled, or all that it lacks to be complete is cancelled task runs."""


class UnpicklableError(RunnerstoneError, TypeError):
    """A value has to travel and cannot be pickled; the text says which, and where in it."""


class ValueLostError(RunnerstoneError, LookupError):
    """A task run's value is gone because the worker that held it is."""


class ResultGoneError(RunnerstoneError, LookupError):
    """A task run completed, but its value stayed with a task runner that has since been stopped."""
