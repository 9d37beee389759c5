"""What code asks about the run that it is in."""

import logging
from typing import Any, assert_type

from runnerstone import FlowRun, flow, get_run_context, get_run_logger, tags, task
from runnerstone.contexts import FlowRunContext, RunLogger, TaskRunContext
from runnerstone.task_runners import TaskRunner


@task
def tell_attempt() -> int:
    context = get_run_context()
    assert_type(context, FlowRunContext | TaskRunContext)
    assert_type(context.attempt, int)
    assert_type(context.tags, frozenset[str])
    context.task_run_name  # type: ignore[union-attr]
    context.flow_run  # type: ignore[union-attr]
    assert isinstance(context, TaskRunContext)
    assert_type(context.task_run_name, str)
    assert_type(context.task_name, str)
    assert_type(context.number, int)
    assert_type(context.flow_run_id, str)
    assert_type(context.flow_run_name, str)
    assert_type(context.flow_name, str)
    context.flow_run  # type: ignore[attr-defined]
    context.attempt = 5  # type: ignore[misc]
    return context.attempt


@flow
def tell_runner() -> str:
    context = get_run_context()
    if isinstance(context, FlowRunContext):
        assert_type(context.flow_run, FlowRun[Any])
        assert_type(context.task_runner, TaskRunner)
    else:
        assert_type(context, TaskRunContext)
    return type(context).__name__


def logs() -> None:
    logger = get_run_logger()

    assert_type(logger, RunLogger)
    assert_type(logger.logger, logging.Logger)
    logger.info("parsed %s of %d", "a", 5)
    logger.warning("late", extra={"seconds": 5})
    logger.log(logging.ERROR, "failed", exc_info=ValueError("no"))

    logger.info()  # type: ignore[call-arg]
    logger.tell("parsed")  # type: ignore[attr-defined]
    get_run_logger("name")  # type: ignore[call-arg]


def labels() -> None:
    with tags("nightly", "io") as found:
        assert_type(found, frozenset[str])

    with tags(5):  # type: ignore[arg-type]
        pass
    with tags(["nightly"]):  # type: ignore[arg-type]
        pass
