"""What stands for a value that has travelled: its pickle, or a reference to where it stays."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, SupportsIndex, final

import attrs

__all__ = ["Pickled", "Reference"]

# A head above this, in bytes, travels as a buffer, which engines do not copy.
LARGE_HEAD: Final = 64 * 1024
# The first protocol of pickle that knows buffers.
PROTOCOL: Final = 5


def buffer_views(buffers: Sequence[Any]) -> tuple[memoryview, ...]:
    return tuple(memoryview(buffer).toreadonly() for buffer in buffers)


def _rebuild(head: bytes | memoryview, *buffers: Any) -> "Pickled":
    return Pickled(head, buffer_views(buffers))


@attrs.frozen(eq=False, repr=False)
class Pickled:
    """A value as bytes, ready to travel.

    Loading gives a new copy each time. Arrays and other buffers in it are read-only and share the
    memory of `buffers`.

    Attributes:
        head: The pickle proper.
        buffers: What the value keeps out of band (pickle protocol 5), such as an array's data.
    """

    head: bytes | memoryview
    buffers: tuple[memoryview, ...] = ()

    @property
    def nbytes(self) -> int:
        """Size of all of it, in bytes."""
        return len(self.head) + sum(buffer.nbytes for buffer in self.buffers)

    def load(self) -> Any:
        """The value; whatever unpickling raises, it raises."""
        import pickle  # noqa: PLC0415  # slow to load, and needed only where values travel

        return pickle.loads(self.head, buffers=self.buffers)

    @property
    def is_plain(self) -> bool:
        """Whether its head is all of it, and small: it can travel as bytes."""
        return not self.buffers and len(self.head) <= LARGE_HEAD

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        import pickle  # noqa: PLC0415  # as above

        # Protocols before 5 know no buffers; the standard library's process pools use one.
        part = pickle.PickleBuffer if int(protocol) >= PROTOCOL else bytes
        head = part(self.head) if len(self.head) > LARGE_HEAD else bytes(self.head)
        return _rebuild, (head, *map(part, self.buffers))

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.nbytes  # engines manage their memory by it

    def __repr__(self) -> str:
        return f"<Pickled value of {self.nbytes} bytes>"


@final
class Reference:
    """A value that stays where a worker made it.

    Made by a task runner, in the driver, in place of an outcome's value. The engine passes it back
    as the upstream of later calls and to `TaskRunner.fetch`. The value may be dropped once the
    reference is.

    Attributes:
        handle: The runner's own name for the value.
        nbytes: The value's size, if known.
        where: The worker that holds it, for messages.
    """

    __slots__ = ("__weakref__", "_release", "handle", "nbytes", "where")

    def __init__(
        self,
        handle: Any,
        release: Callable[[Any], object] | None = None,
        *,
        nbytes: int | None = None,
        where: str | None = None,
    ) -> None:
        """Refer to a value.

        Args:
            handle: What the runner finds the value by.
            release: Called with the handle when the last use of the reference is gone, in any
                thread, also by the garbage collector: it must neither block nor take a lock.
            nbytes: See the attributes.
            where: Likewise.
        """
        self.handle = handle
        self.nbytes = nbytes
        self.where = where
        self._release = release

    def __del__(self) -> None:
        if self._release is not None:
            self._release(self.handle)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Reference cannot be pickled or copied, since each copy would release the value: "
            "send its handle"
        )

    def __repr__(self) -> str:
        return f"<Reference {self.handle!r}>"
