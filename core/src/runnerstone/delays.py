"""How long to wait before something is tried again."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

__all__ = ["exponential_backoff"]

# What a thread can wait for, in seconds: some 290 years.
LONGEST: Final = threading.TIMEOUT_MAX
Delay = float | Sequence[float] | Callable[[int], float]


@attrs.frozen
class _ExponentialBackoff:
    initial_seconds: float
    factor: float
    max_seconds: float

    def __call__(self, retry: int) -> float:
        try:
            seconds = self.initial_seconds * self.factor ** (retry - 1)
        except OverflowError:
            return self.max_seconds
        return min(seconds, self.max_seconds)


def exponential_backoff(
    initial_seconds: float = 1.0, *, factor: float = 2.0, max_seconds: float = 3600.0
) -> Callable[[int], float]:
    """Delays that grow from retry to retry, for ``retry_delay_seconds``.

    Args:
        initial_seconds: Before the first retry.
        factor: How much longer each is than the one before.
        max_seconds: None is longer than this.

    Raises:
        TypeError: If one is no number.
        ValueError: If one is out of range.
    """
    given = f"({initial_seconds!r}, factor={factor!r}, max_seconds={max_seconds!r})"
    for number in (initial_seconds, factor, max_seconds):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise TypeError(f"exponential_backoff takes numbers, not {given}")
    if not (0 <= initial_seconds <= LONGEST and 0 <= max_seconds <= LONGEST and factor >= 1):
        raise ValueError(
            f"exponential_backoff takes seconds from 0 to {LONGEST:.0e} and a factor from 1, not "
            f"{given}"
        )
    return _ExponentialBackoff(initial_seconds, factor, max_seconds)


def checked_delay(value: Any) -> Any:
    """A delay as it was declared; a sequence becomes a tuple.

    Raises:
        TypeError: If it is neither a number, nor several, nor a callable.
        ValueError: If a number is out of range, or there is none in the sequence.
    """
    if callable(value):
        return value
    several = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    numbers = tuple(value) if several else (value,)
    if not numbers:
        raise ValueError("retry_delay_seconds is an empty sequence: give one number at least")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise TypeError(
                "retry_delay_seconds is a number, a sequence of numbers, or a callable of the "
                f"retry's number that returns one, not {value!r}"
            )
        if not 0 <= number <= LONGEST:
            raise ValueError(f"retry_delay_seconds is from 0 to {LONGEST:.0e}, not {number!r}")
    return numbers if several else value


def seconds_before(delay: Delay, retry: int, jitter: float = 0.0) -> float:
    """How long to wait before a retry, in seconds.

    Args:
        delay: As it was declared; of a sequence that is too short the last number counts.
        retry: Which retry, from 1.
        jitter: The longest share of the delay by which it is lengthened at random.

    Raises:
        Exception: What a callable raises, or if it returns no such number.
    """
    if callable(delay):
        found = delay(retry)
        seconds = checked_delay(found)
        if callable(seconds) or isinstance(seconds, tuple):
            raise TypeError(f"retry_delay_seconds returned {found!r} instead of a number")
    elif isinstance(delay, tuple):
        seconds = delay[min(retry, len(delay)) - 1]
    else:
        seconds = delay
    if jitter:
        import random  # slow to load

        seconds = min(seconds * (1 + random.uniform(0, jitter)), LONGEST)
    return float(seconds)
