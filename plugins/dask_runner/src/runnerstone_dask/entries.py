"""Calls on their way to Dask, and Dask's names for them."""

import hashlib
import pickle
import re
from typing import Any, Final

import attrs

from runnerstone.task_runners import Parcel, Pickled, Report, TaskCall

# Contents above this, in bytes, go beside the graph: Dask warns of large graphs, and copies them.
LARGE: Final = 1024 * 1024


@attrs.define(eq=False)
class Entry:
    """A call on its way.

    Attributes:
        key: Dask's name for it.
        call: The call.
        parcel: What travels of it.
        contents: The parcel's contents, pickled if they go in the graph.
        nbytes: Their size.
        report: How to tell what becomes of it.
        future: Dask's; None until it is submitted.
    """

    key: str
    call: TaskCall
    parcel: Parcel
    contents: bytes | Pickled
    nbytes: int
    report: Report
    future: Any = None

    @classmethod
    def of(cls, call: TaskCall, report: Report) -> "Entry":
        """The entry of a call; raises UnpicklableError if its program cannot travel."""
        call.program.digest  # noqa: B018  # pickles the program, here and not on the pump
        parcel = call.parcel()
        contents: bytes | Pickled = parcel.contents
        nbytes = parcel.contents.nbytes
        if nbytes <= LARGE:
            contents = pickle.dumps(contents, protocol=5)
        return cls(key_of(call), call, parcel, contents, nbytes, report)


def key_of(call: TaskCall) -> str:
    """Dask's name for a call; Dask groups keys by what stands before 32 hexadecimal digits."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", call.program.task_name)
    return f"{name}-{hashlib.blake2b(call.id.encode(), digest_size=16).hexdigest()}"
