"""What an author of a task runner implements, and what they are given.

A complete runner, on threads of its own::

    from concurrent.futures import ThreadPoolExecutor

    from runnerstone.task_runners import Capabilities, Report, TaskCall, TaskRunner, relay


    class PoolTaskRunner(TaskRunner):
        max_workers: int = 4  # a setting: an annotated field

        capabilities = Capabilities(shares_memory=True)

        def start(self) -> None:
            self._pool = ThreadPoolExecutor(self.max_workers)

        def submit(self, call: TaskCall, report: Report) -> None:
            relay(self._pool.submit(call, *call.upstream), report)

        def stop(self) -> None:
            if hasattr(self, "_pool"):  # else starting got nowhere
                self._pool.shutdown()

It is published as an entry point of the group ``runnerstone.task_runners`` whose name is the
runner's and whose value is a module with an implementation of the hook `runnerstone_task_runners`
(see `runnerstone.hookspecs`). `runnerstone.testing.TaskRunnerContract` tests that it is right.

What an author may rely on, and owes:

- **Settings are annotated fields**, keyword-only; the class becomes an attrs class by itself.
  ``attrs.field`` gives validators and converters. What a runner holds at run time is a plain
  private attribute.
- **The instance a user passes is a description** and is never started. Each flow run starts a copy
  of it, so one flow can run twice at once.
- ``start`` comes once, before anything is submitted; if it raises, ``stop`` still follows.
  ``submit`` may be called from several threads at once, also from inside a report. ``stop`` comes
  once the runner has nothing left to do, or when the user will wait no longer, maybe twice; after
  it has returned, reports are ignored.
- **A report may take its time**: it logs, submits what was waiting for this call and fetches
  values. Give it a thread on which nothing else of yours depends and where you hold no
  lock, or use `Report.post`, which never blocks.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from logging import LogRecord
from typing import TYPE_CHECKING, Any, Final, Self, dataclass_transform

import attrs

from runnerstone.calls import TaskCall
from runnerstone.contents import Pickled, Reference
from runnerstone.errors import InvalidTaskRunnerError, RunnerstoneError, ValueLostError
from runnerstone.outcomes import Crash, Outcome

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "CONTRACT_VERSION",
    "Capabilities",
    "Report",
    "TaskRunner",
    "TaskRunnerSpec",
    "relay",
]

CONTRACT_VERSION: Final = 0
"""Of the contract in this module; 0 may still change."""


@attrs.frozen(kw_only=True)
class Capabilities:
    """What a task runner can do, as the engine, the listings and the tests go by it.

    Attributes:
        parallel: Calls run beside the flow's body and each other. False: ``submit`` executes the
            call in the calling thread and reports before it returns.
        distributed: Calls may run on other machines.
        shares_memory: Calls run in the driver's process: values are passed as they are, never
            pickled.
        cancels_queued: ``cancel`` prevents a call that has not begun.
        interrupts: ``cancel`` interrupts a call's Python code. What `TaskRunner.cancel` does by
            default is enough where calls run in the driver's process.
        kills: ``cancel`` ends a running call whatever it does.
        knows_resources: Honours the resources that tasks ask for.
        inline_limit: Size, in bytes, up to which a pickled value comes back in the outcome itself.
        gains_from_packing: Sending many small calls as one is cheaper: the engine makes packs of
            them, each of which is a call to the task runner. It needs to know the `slots`.
    """

    parallel: bool = True
    distributed: bool = False
    shares_memory: bool = False
    cancels_queued: bool = False
    interrupts: bool = False
    kills: bool = False
    knows_resources: bool = False
    inline_limit: int = 64 * 1024
    gains_from_packing: bool = False


class Report(ABC):
    """How a task runner tells what becomes of one call; given to it with the call.

    The first end that is reported counts, later ones are ignored. Any thread may report.
    """

    __slots__ = ()

    @abstractmethod
    def started(self, where: str | None = None) -> None:
        """Tell that the call has begun, just before it does; optional.

        A task's ``timeout_seconds`` count from here. Without it, a call that travels still ends
        itself in time, if its code can be interrupted.

        Args:
            where: The worker that runs it; None if it is not known yet.
        """

    @abstractmethod
    def logged(self, records: Iterable[LogRecord]) -> None:
        """Hand over what the call logged in another process, in order; before its end."""

    @abstractmethod
    def progressed(self, progress: bytes) -> None:
        """Hand over what `run_parcel` tells of a pack that takes long; before its end.

        It returns at once, and may be called on any thread.
        """

    @abstractmethod
    def done(self, outcome: Outcome) -> None:
        """Tell how the call ended. It may block: see the module's last paragraph."""

    @abstractmethod
    def post(self, outcome: Outcome) -> None:
        """Tell how the call ended, and return at once: the engine has a thread to do `done` on."""

    def crashed(self, cause: BaseException | None, message: str) -> None:
        """Tell that the call is lost, with its worker; `done` with a `Crash`.

        The engine has it executed again, if the task's ``crash_retries`` allow.

        Args:
            cause: The exception that told of it.
            message: What died, where, and why if that is known.
        """
        self.done(Outcome(problem=Crash(message, cause)))


@dataclass_transform(kw_only_default=True, field_specifiers=(attrs.field,))
class TaskRunner(ABC):
    """Runs the calls of one flow run; see the module for what an author may rely on, and owes."""

    capabilities = Capabilities()
    """What the runner can do. An instance may narrow it, in ``__attrs_post_init__``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__slots__" in cls.__dict__:
            raise InvalidTaskRunnerError(
                f"{cls.__qualname__} has slots, and a task runner keeps what it holds at run time "
                "in plain attributes; if it is decorated, remove the decorator: annotated fields "
                "become settings by themselves"
            )
        attrs.define(cls, slots=False, kw_only=True)
        cls._setting_fields = _fields(cls)

    _setting_fields: tuple["attrs.Attribute[Any]", ...] = ()
    _in_use = False

    def start(self) -> None:
        """Acquire what the calls need; before the flow's body, in any thread.

        What it raises is the flow run's crash.
        """

    @abstractmethod
    def submit(self, call: TaskCall, report: Report) -> None:
        """Have ``call(*call.upstream)`` executed somewhere, once, and its outcome reported.

        Returns at once, unless ``capabilities.parallel`` is false. To raise is to refuse the call:
        its task run is then crashed.
        """

    def stop(self) -> None:
        """Release what was acquired, wherever ``start`` got to. Harmless twice."""

    def submit_many(self, calls: Sequence[tuple[TaskCall, Report]]) -> None:
        """Submit several calls; worth overriding where that is cheaper than one by one."""
        for call, report in calls:
            try:
                self.submit(call, report)
            except Exception as error:  # noqa: BLE001  # a refusal concerns this call alone
                refuse(self, error, report)

    def cancel(self, call: TaskCall) -> None:
        """Prevent or interrupt a call, as far as the capabilities promise; without waiting for it.

        The engine has already ended the task run, whatever becomes of the call. It still wants to
        be told by `Report.done` when a call ends that had begun: until then it takes it that the
        code still runs, and logs that. By default it interrupts a call that is executed in this
        process, see `TaskCall.interrupt`; a queued one then ends as soon as it begins.
        """
        call.interrupt()

    def slots(self) -> int | None:
        """How many calls run at once now; None if that is not known.

        Where calls are packed, the engine asks for it now and then, on the thread that ends are
        reported on: it has to answer in a few seconds, also where what it asks is gone.
        """
        return None

    def fetch(self, references: Sequence[Reference]) -> list[Pickled]:
        """Bring values to the driver, in the order given; it may block.

        Raises:
            ValueLostError: If one is gone.
        """
        raise ValueLostError(f"{type(self).__qualname__} keeps no values, and made {references!r}")

    def share(self, value: Pickled) -> Reference | None:
        """Put a value that many calls will use where workers find it; None: send it with each."""
        return None

    def copy_for_run(self) -> Self:
        """A copy to be started, with the same settings; what the engine starts is always one."""
        copy = attrs.evolve(self)  # type: ignore[misc]  # every concrete subclass is an attrs class
        copy._in_use = True  # noqa: SLF001  # a copy of its own class
        return copy

    def __getstate__(self) -> dict[str, Any]:
        if self._in_use:
            raise TypeError(
                f"a started {type(self).__qualname__} cannot be pickled: it belongs to its flow "
                "run. Perhaps a task refers to it; pass the settings instead"
            )
        return self.__dict__


def _fields(cls: type[TaskRunner]) -> tuple["attrs.Attribute[Any]", ...]:
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)  # type: ignore[arg-type]  # an attrs class by __init_subclass__
    return fields


def check_task_runner_class(cls: type[TaskRunner]) -> None:
    """Check that a class keeps its settings.

    Raises:
        InvalidTaskRunnerError: If it is abstract, or hides or loses settings; the text says how.
    """
    name = f"{cls.__module__}.{cls.__qualname__}"
    if missing := sorted(cls.__abstractmethods__):
        raise InvalidTaskRunnerError(f"{name} lacks {', '.join(missing)}")
    fields = _fields(cls)
    if fields is not cls._setting_fields:
        raise InvalidTaskRunnerError(
            f"{name} is made a data class twice, which loses its settings' defaults: remove its "
            "decorator; annotated fields become settings by themselves"
        )
    for field in fields:
        if field.name == "capabilities" or field.name.startswith("_"):
            raise InvalidTaskRunnerError(
                f"{name} annotates {field.name}, which makes a setting of it: remove the annotation"
            )
    for base in cls.__mro__:
        if base is TaskRunner:
            break
        init = base.__dict__.get("__init__")
        if init is not None and not init.__code__.co_filename.startswith("<attrs generated"):
            raise InvalidTaskRunnerError(
                f"{name} has an __init__ of its own (in {base.__qualname__}), which hides its "
                "settings: declare them as annotated fields, and use __attrs_post_init__ for what "
                "has to be done with them"
            )


def refuse(runner: TaskRunner, error: Exception, report: Report) -> None:
    """Report a call that a runner's ``submit`` raised for."""
    said = str(error) if isinstance(error, RunnerstoneError) else repr(error)
    message = f"{type(runner).__qualname__} did not accept the call: {said}"
    report.done(Outcome(problem=Crash(message, error, is_permanent=True)))


def relay(future: "Future[Outcome]", report: Report) -> None:
    """Report the end of a standard future whose result is a call's outcome.

    A future that is cancelled or fails, as a broken pool's do, is a crash. The report is posted, so
    the thread that ends the future is not held up.
    """
    future.add_done_callback(lambda ended: report.post(_outcome_of(ended)))


def _outcome_of(future: "Future[Outcome]") -> Outcome:
    if future.cancelled():
        return Outcome(problem=Crash("the task runner cancelled the call"))
    error = future.exception()
    if error is not None:
        return Outcome(problem=Crash(f"the task runner lost the call: {error!r}", error))
    return future.result()


@attrs.frozen(kw_only=True)
class TaskRunnerSpec:
    """A task runner as its distribution announces it, without importing it.

    Attributes:
        name: What it is chosen by; the entry point's name.
        path: Where the class is, as ``package.module:Class``.
        summary: One line for the listing.
        capabilities: Equal to the class's.
    """

    name: str
    path: str
    summary: str
    capabilities: Capabilities = Capabilities()
