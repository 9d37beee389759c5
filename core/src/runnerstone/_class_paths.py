"""From ``package.module:Class`` to a task runner's class."""

from importlib import import_module
from operator import attrgetter
from typing import Any, TypeGuard

from runnerstone._names import suggestion
from runnerstone.contracts import TaskRunner, check_task_runner_class
from runnerstone.errors import InvalidTaskRunnerError, TaskRunnerImportError


def find_at(path: str) -> Any:
    """Import what is at a path, whatever it is.

    Raises:
        TaskRunnerImportError: If it is no path, or nothing can be imported from there.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise TaskRunnerImportError(
            f"{path!r} is no path of a task runner: write 'package.module:Class'"
        )
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise TaskRunnerImportError(
            f"{path!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    try:
        return attrgetter(name)(module)
    except AttributeError:
        there = [
            name
            for name, value in vars(module).items()
            if _is_task_runner_class(value) and value is not TaskRunner
        ]
        listing = f"its task runners: {', '.join(there) or 'none'}"
        raise TaskRunnerImportError(
            f"{path!r} cannot be imported: module {module_name!r} has no {name!r}"
            f"{suggestion(name, there, listing)}"
        ) from None


def checked_class(found: object, what: str) -> type[TaskRunner]:
    """The very object that was found, if it is a class of task runners.

    Args:
        what: How the message calls it.

    Raises:
        InvalidTaskRunnerError: If it is not, or breaks the contract.
    """
    if not _is_task_runner_class(found):
        raise InvalidTaskRunnerError(
            f"{what} is {found!r}, which is no TaskRunner: choose a name such as 'concurrent', "
            "'package.module:Class', or a subclass of runnerstone.task_runners.TaskRunner or an "
            "instance of one"
        )
    check_task_runner_class(found)
    return found


def _is_task_runner_class(found: object) -> TypeGuard[type[TaskRunner]]:
    return isinstance(found, type) and issubclass(found, TaskRunner)
