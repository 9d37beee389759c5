"""How long the calls of a task take, and how many of them go together for it."""

from collections.abc import Iterable
from typing import Final

from runnerstone.contents import Pickled, Reference
from runnerstone.outcomes import Outcome
from runnerstone.packs import MOST_BYTES

# How long a pack shall take, in seconds: the cost of sending it is little beside that.
PACK_SECONDS: Final = 0.03
# A shorter one is not parted so that all slots get some: sending each part costs as much.
LEAST_SECONDS: Final = 0.001
# Fewer calls than this, that would fill a pack, go alone: they gain little, and would end unevenly.
FEWEST_CALLS: Final = 4
# What is measured counts by this share against what was measured before.
WEIGHT: Final = 0.25


class Pace:
    """What was measured of a task's calls, by one thread at a time."""

    def __init__(self, most: int) -> None:
        """Know nothing yet.

        Args:
            most: How many calls may go together.
        """
        self._most: Final = most
        self._seconds: float | None = None  # what a call takes
        self._nbytes = 0.0  # of a value

    @property
    def is_small(self) -> bool:
        """Whether calls are known to take so little that they gain from going together."""
        return self._seconds is not None and self._seconds <= PACK_SECONDS / FEWEST_CALLS

    def learn(self, outcomes: Iterable[Outcome]) -> None:
        """Take account of how long calls took that were executed in a row, and of their values."""
        executed = [it for it in outcomes if it.started is not None and it.ended is not None]
        if not executed:
            return
        count = len(executed)
        took = max(it.ended or 0 for it in executed) - min(it.started or 0 for it in executed)
        values = [it.value for it in executed if isinstance(it.value, (Pickled, Reference))]
        nbytes = sum(value.nbytes or 0 for value in values) / count
        # A call may have been slow for once, as the first is that has a worker import something.
        seconds = min(took / count, 2 * PACK_SECONDS)
        weight = 1.0 if self._seconds is None else WEIGHT
        before = self._seconds or 0.0
        self._seconds = before + weight * (seconds - before)
        self._nbytes += weight * (nbytes - self._nbytes)

    def size(self, share: float, *, evenly: bool) -> int:
        """How many calls go together.

        Args:
            share: How many each slot would get of those that wait.
            evenly: Not to give one slot more than its share, little as that may take.
        """
        if self._seconds is None or not self.is_small:
            return 1
        seconds = max(self._seconds, 1e-6)
        most = min(PACK_SECONDS / seconds, MOST_BYTES / max(self._nbytes, 1.0), self._most)
        least = 1.0 if evenly else LEAST_SECONDS / seconds
        return max(int(min(most, max(share, least))), 1)
