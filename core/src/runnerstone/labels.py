"""What a task run is called and labelled, and the flow run that it belongs to."""

from logging import WARNING
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from runnerstone.programs import Program

__all__ = ["FlowRunInfo", "Labels"]


@attrs.frozen
class FlowRunInfo:
    """The flow run that a call belongs to, as its workers know it.

    Attributes:
        id: Unique among all attempts at all flow runs, 16 hexadecimal digits and maybe more.
        name: The flow run's name.
        flow_name: The flow's name.
        log_level: What the flow run's tasks log below this level is of no interest to the driver.
    """

    id: str
    name: str
    flow_name: str
    log_level: int = WARNING

    @property
    def parts(self) -> tuple[Any, ...]:
        """What it is made of, in order: it travels so."""
        return self.id, self.name, self.flow_name, self.log_level


@attrs.frozen
class Labels:
    """What a task run is called and labelled, where that is not as its task says.

    Attributes:
        name: The run's name; None leaves the usual one.
        tags: All its labels; None leaves the task's.
    """

    name: str | None = None
    tags: frozenset[str] | None = None


def name_of_run(program: "Program", number: int, labels: Labels | None = None) -> str:
    """The name of a task run: ``{task name}-{key}-{number}``, unless it has another."""
    if labels is not None and labels.name is not None:
        return labels.name
    return f"{program.task_name}-{program.key}-{number}"


def tags_of_run(program: "Program", labels: Labels | None) -> frozenset[str]:
    """All labels of a task run."""
    return program.tags if labels is None or labels.tags is None else labels.tags
