"""What a call ends in: a value, or the user's failure, or the infrastructure's crash."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs

from runnerstone._pickles import dump_in_band, safe_repr
from runnerstone._tracebacks import hide_frames, with_note, with_origins
from runnerstone.contents import Pickled
from runnerstone.errors import TaskCrashedError, TaskFailedError
from runnerstone.states import State

__all__ = ["Crash", "Failure", "Outcome"]

# A pickled exception above this, in bytes, stays behind: its text is told instead.
EXCEPTION_LIMIT: Final = 64 * 1024


class _WorkerTraceback(Exception):  # noqa: N818  # it is shown as a traceback's cause, never caught
    """An exception's traceback in another process, as text; the standard library's idea."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@attrs.frozen
class Failure:
    """The user's function raised.

    Attributes:
        type_names: Qualified names of the exception's type and of its bases, in their order.
        text: The exception's `repr`.
        traceback: Formatted as Python prints it; empty if the exception never left its process.
        note: What the exception is given as a note: which run it ended. None until that is known.
    """

    type_names: tuple[str, ...]
    text: str
    traceback: str
    _raised: BaseException | bytes | None = None
    _raised_at: Any = None
    note: str | None = attrs.field(default=None, kw_only=True)

    @classmethod
    def of(cls, error: BaseException, *, travels: bool) -> "Failure":
        """Record `error`; to be called outside of the ``except`` block.

        Args:
            error: What was raised.
            travels: Whether the failure goes to another process, as text and pickle. If not, the
                exception itself is kept, and its frames let go of their local variables.
        """
        import traceback  # slow to load, and needed only by failures

        type_names = tuple(map(_qualified_name, type(error).__mro__))
        text = safe_repr(error)
        if travels:
            hide_frames(error)
            formatted = "".join(traceback.format_exception(error))
            return cls(type_names, text, formatted, _pickle_exception(error))
        for one in with_origins(error):
            traceback.clear_frames(one.__traceback__)
        hide_frames(error)
        return cls(type_names, text, "", error, error.__traceback__)

    @property
    def type_name(self) -> str:
        """Qualified name of the exception's type."""
        return self.type_names[0]

    @property
    def interrupted(self) -> bool:
        """Whether it was a `KeyboardInterrupt`."""
        return self.type_name == "KeyboardInterrupt"

    def is_a(self, kinds: tuple[type[BaseException], ...]) -> bool:
        """Whether the exception is of one of these types, as far as their names tell."""
        return not {_qualified_name(kind) for kind in kinds}.isdisjoint(self.type_names)

    def error(self) -> BaseException:
        """The exception to raise in the driver, with its traceback.

        The user's own where it can be had. `TaskFailedError` where it cannot, and instead of
        exceptions that are no `Exception`: a task's `SystemExit` shall not end the driver.
        """
        raised: BaseException | None = None
        if isinstance(self._raised, bytes):
            with suppress(Exception):  # what does not load here, its text tells
                raised = Pickled(self._raised).load()
        elif self._raised is not None:
            raised = self._raised.with_traceback(self._raised_at)
        if raised is not None and self.traceback:
            raised.__cause__ = _WorkerTraceback(self.traceback)
        if isinstance(raised, Exception):
            return with_note(raised, self.note)
        failed = TaskFailedError(f"the task raised {self.text}")
        failed.__cause__ = raised or _WorkerTraceback(self.traceback)
        return with_note(failed, self.note)


@attrs.frozen
class Crash:
    """The infrastructure, not the user's function, ended a call.

    Attributes:
        message: What happened, where, and what to do about it.
        cause: The exception that told of it, if there was one.
        lost: Numbers, in ``call.upstream``, of the values that turned out to be gone.
        is_permanent: Whether another attempt is of no use, as where something cannot be pickled. If
            not, a worker was lost, and the task's ``crash_retries`` apply.
        note: As a `Failure` has it.
    """

    message: str
    cause: BaseException | None = None
    lost: tuple[int, ...] = attrs.field(default=(), kw_only=True)
    is_permanent: bool = attrs.field(default=False, kw_only=True)
    note: str | None = attrs.field(default=None, kw_only=True)

    def error(self) -> BaseException:
        """The exception to raise in the driver."""
        crashed = TaskCrashedError(self.message)
        crashed.__cause__ = self.cause
        return with_note(crashed, self.note)


if TYPE_CHECKING:
    from attrs import frozen as _frozen
else:  # nothing enforces it when code runs, which would cost a tenth of a call's overhead
    _frozen = attrs.define(unsafe_hash=True)


@_frozen
class Outcome:
    """What a call ended in.

    Attributes:
        value: What the function returned: the value itself on runners that share memory, else a
            `Pickled`, which a runner may replace by a `Reference` to where it keeps it.
        problem: Why there is no value; None if there is one.
        state: The final state that the function chose by returning it; None leaves that to the
            engine.
        started: When the function started, in seconds since the epoch by the worker's clock; None
            if it did not.
        ended: When it ended, likewise.
        where: The worker that ran it.
        records: What the call logged in another process: the attributes of each record, in order,
            as `logging.makeLogRecord` takes them.
        progress: Of a pack's last call, what became of the pack's others; None of any other call.
    """

    value: Any = None
    problem: Failure | Crash | None = None
    state: State | None = None  # positional, as those below: keywords cost twice as much
    started: float | None = None
    ended: float | None = None
    where: str | None = None
    records: Sequence[dict[str, Any]] = attrs.field(default=(), kw_only=True)
    progress: bytes | None = attrs.field(default=None, kw_only=True)

    def __reduce__(self) -> tuple[Any, ...]:
        # Of plain parts where it can be: who receives it takes long to find the way to each class.
        value = self.value
        head = bytes(value.head) if type(value) is Pickled and value.is_plain else None
        times = self.started, self.ended
        rest = (self.problem, self.state, *times, self.where, self.records, self.progress)
        return _arrived, (head, value if head is None else None, *rest)

    def parted(self, limit: int) -> tuple["Outcome", Pickled | None]:
        """What a worker sends, and what it keeps: the value, if that is larger than `limit` bytes.

        What is sent of an outcome whose value is kept has no value; in the driver, a `Reference`
        takes its place: ``attrs.evolve(outcome, value=reference)``.
        """
        value = self.value
        if type(value) is not Pickled or value.nbytes <= limit:
            return self, None
        return attrs.evolve(self, value=None), value


def _arrived(
    head: bytes | None, value: Any, problem: Failure | Crash | None, state: State | None, *rest: Any
) -> Outcome:
    """An outcome from another process."""
    started, ended, where, records, progress = rest
    return Outcome(
        value if head is None else Pickled(head),
        problem,
        state=state,
        started=started,
        ended=ended,
        where=where,
        records=records,
        progress=progress,
    )


def _qualified_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _pickle_exception(error: BaseException) -> bytes | None:
    """The exception pickled, if a copy of it that is its equal in type and text comes back."""
    try:
        pickled = dump_in_band(error)
        if len(pickled) > EXCEPTION_LIMIT:
            return None
        copy = Pickled(pickled).load()
        faithful = type(copy) is type(error) and str(copy) == str(error)
    except BaseException:  # noqa: BLE001  # a user's __reduce__ may raise, or have raised, anything
        return None  # it does not survive: its text will
    return pickled if faithful else None
