"""What all calls of a task share, sent to a worker once."""

import threading
from collections.abc import Iterable
from typing import Any, Final, Protocol

from runnerstone._pickles import dump_in_band, find_unpicklable, safe_repr
from runnerstone.contents import Pickled
from runnerstone.errors import UnpicklableError

__all__ = ["Program"]

# Programs that a worker process keeps unpickled.
PROGRAMS_KEPT: Final = 512


class Runnable(Protocol):
    """What a program is made of; a `Task` is one."""

    @property
    def fn(self) -> Any: ...
    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def is_async(self) -> bool: ...
    @property
    def tags(self) -> frozenset[str]: ...
    @property
    def timeout_seconds(self) -> float | None: ...


class Program:
    """What all calls of one task in one flow run share: the function and its options.

    It is pickled once, when a call first travels, and unpickled once a worker process.

    Attributes:
        task_name: The task's name.
        key: The task's key, eight hexadecimal digits.
        is_async: Whether the function is a coroutine function.
        tags: The task's labels.
        timeout_seconds: How long a call may execute; None sets no limit.
        logs_prints: Whether what the function prints is logged.
    """

    __slots__ = (
        "_fn",
        "_lock",
        "_packed",
        "_task",
        "is_async",
        "key",
        "logs_prints",
        "tags",
        "task_name",
        "timeout_seconds",
    )

    def __init__(  # noqa: PLR0913  # what a worker has to know of a task
        self,
        task_name: str,
        key: str,
        *,
        is_async: bool,
        tags: Iterable[str] = (),
        timeout_seconds: float | None = None,
        logs_prints: bool = False,
        packed: tuple[bytes, bytes] | None = None,
    ) -> None:
        """Describe a program; `of` makes one of a task.

        Args:
            task_name: See the attributes.
            key: Likewise.
            is_async: Likewise.
            tags: Likewise.
            timeout_seconds: Likewise.
            logs_prints: Likewise.
            packed: Digest and payload of one that arrives in a worker.
        """
        self.task_name = task_name
        self.key = key
        self.is_async = is_async
        self.tags = frozenset(tags)
        self.timeout_seconds = timeout_seconds
        self.logs_prints = logs_prints
        self._packed = packed
        self._task: Runnable | None = None
        self._fn: Any = None
        self._lock = threading.Lock()  # guards the pickling and the unpickling

    @classmethod
    def of(cls, task: Runnable, *, logs_prints: bool = False) -> "Program":
        """The program of a task."""
        program = cls(
            task.name,
            task.key,
            is_async=task.is_async,
            tags=task.tags,
            timeout_seconds=task.timeout_seconds,
            logs_prints=logs_prints,
        )
        program._task = task
        program._fn = task.fn
        return program

    @staticmethod
    def arrived(digest: bytes) -> "Program | None":
        """The program with this digest, if it has come to this process; None if it has not."""
        return _arrivals.get(digest)

    @property
    def digest(self) -> bytes:
        """A digest, 16 bytes: programs with the same need to be sent to a worker only once."""
        return self._pack()[0]

    @property
    def payload(self) -> bytes:
        """The pickled task; raises UnpicklableError, naming what in it cannot be pickled."""
        return self._pack()[1]

    def _pack(self) -> tuple[bytes, bytes]:
        packed = self._packed
        if packed is not None:  # as for all calls but the first
            return packed
        with self._lock:
            if self._packed is None:
                import hashlib  # slow to load, and needed only where calls travel

                payload = self._dump()
                digest = hashlib.blake2b(payload, digest_size=16)
                digest.update(repr(self._facts()).encode())
                self._packed = digest.digest(), payload
            return self._packed

    def _dump(self) -> bytes:
        try:
            return dump_in_band(self._task)
        except Exception as error:
            culprit = find_unpicklable(self._fn, "its function") or safe_repr(error)
            raise UnpicklableError(f"task {self.task_name!r} cannot travel: {culprit}") from error

    def function(self) -> Any:
        """The user's function; in a worker, unpickled when first asked for."""
        if self._fn is None:
            payload = self.payload
            with self._lock:
                if self._fn is None:
                    self._fn = Pickled(payload).load().fn
        return self._fn

    def bare(self) -> "Program":
        """The program as workers have it: with the function's pickle, without the function."""
        return _made(self._pack(), self._facts())

    def _facts(self) -> dict[str, Any]:
        facts = {"task_name": self.task_name, "key": self.key, "is_async": self.is_async}
        further = {
            "tags": tuple(sorted(self.tags)),
            "timeout_seconds": self.timeout_seconds,
            "logs_prints": self.logs_prints,
        }
        return facts | {name: value for name, value in further.items() if value}

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self._pack(), self._facts())


_arrivals: dict[bytes, Program] = {}


def _made(packed: tuple[bytes, bytes], facts: dict[str, Any]) -> Program:
    return Program(**facts, packed=packed)


def _arrived(packed: tuple[bytes, bytes], facts: dict[str, Any]) -> Program:
    """The program with this digest; one a worker process."""
    digest = packed[0]
    program = _arrivals.get(digest)
    if program is None:
        program = _arrivals.setdefault(digest, _made(packed, facts))
        for oldest in list(_arrivals)[:-PROGRAMS_KEPT]:
            _arrivals.pop(oldest, None)
    return program
