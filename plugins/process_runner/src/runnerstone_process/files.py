"""Values that stay in files, where all processes of the machine find them."""

import mmap
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import attrs

from runnerstone.task_runners import Pickled

# Where each part of a value begins, in bytes: what arrays, and a processor's caches, like best.
ALIGNMENT: Final = 64


@attrs.frozen
class ValueFile:
    """Where a value is: a file that holds its head and its buffers.

    Attributes:
        path: The file.
        sizes: How long each part is, the head first, in bytes.
    """

    path: str
    sizes: tuple[int, ...]

    @classmethod
    def write(cls, value: Pickled, folder: str) -> Self:
        """Write a value to a new file; raises OSError where there is no room."""
        handle, path = tempfile.mkstemp(dir=folder)
        parts = (memoryview(value.head), *value.buffers)
        try:
            with os.fdopen(handle, "wb") as file:
                for part in parts:
                    file.write(bytes(-file.tell() % ALIGNMENT))
                    file.write(part)
        except OSError:
            Path(path).unlink()
            raise
        return cls(path, tuple(part.nbytes for part in parts))

    def read(self) -> Pickled:
        """The value; its memory is the file's, mapped. Raises OSError if the file is gone."""
        with Path(self.path).open("rb") as file:
            memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        parts = []
        position = 0
        for size in self.sizes:
            position += -position % ALIGNMENT
            parts.append(memory[position : position + size])
            position += size
        return Pickled(parts[0], tuple(parts[1:]))

    def remove(self) -> None:
        """Remove the file, if it is there; who has read it keeps what they have."""
        with suppress(OSError):  # the folder may have been removed with all that is in it
            os.unlink(self.path)  # noqa: PTH108  # called by the garbage collector: as little as possible
