"""What says, around an argument, how it is to be taken."""

from typing import Generic, TypeVar

import attrs

__all__ = ["unmapped"]

T = TypeVar("T")


@attrs.frozen(eq=False)
class unmapped(Generic[T]):  # noqa: N801  # it is called around an argument, as a function is
    """Have `Task.map` pass an iterable to each run as it is, and not map over it.

    Attributes:
        value: What each run gets.
    """

    value: T
