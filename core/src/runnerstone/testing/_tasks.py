"""The tasks that the tests run, and the values that they exchange, for workers to import."""

import asyncio
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, Self, SupportsIndex, TypeVar

import attrs

from runnerstone import State, get_run_context, get_run_logger, task
from runnerstone.testing._meetings import Address, attend, attend_async, attend_in_python
from runnerstone.testing._troubles import FormattingError, raise_value_error

T = TypeVar("T")

SETTING: Final[ContextVar[str]] = ContextVar("setting", default="unset")


@task
def give(value: T) -> T:
    """The value itself."""
    return value


@task
async def give_async(value: T) -> T:
    """The value itself, after a turn of the event loop."""
    await asyncio.sleep(0)
    return value


@task
def add(first: Any, second: Any) -> Any:
    """The sum."""
    return first + second


@task
async def add_async(first: Any, second: Any) -> Any:
    """The sum, after a turn of the event loop."""
    await asyncio.sleep(0)
    return first + second


@task
def total(numbers: list[int]) -> int:
    """The sum of many."""
    return sum(numbers)


@task
def size_of(value: Any) -> int:
    """The length."""
    return len(value)


@task
def call(function: Callable[[], T]) -> T:
    """What a function returns or raises."""
    return function()


@task
async def call_async(function: Callable[[], T]) -> T:
    """What a function returns or raises, called by a coroutine."""
    await asyncio.sleep(0)
    return function()


@task
def add_in_task(first: int, second: int) -> list[str]:
    """The type and the repr of what another task gives that is called in this one."""
    found = add(first, second)
    return [type(found).__name__, repr(found)]


@task
async def add_async_in_task(first: int, second: int) -> list[str]:
    """The type and the repr of what another coroutine task gives that is awaited in this one."""
    found = await add_async(first, second)
    return [type(found).__name__, repr(found)]


@task
def consume(numbers: Iterator[int]) -> list[int]:
    """What a generator still has to give."""
    return list(numbers)


@task
def append_to(items: list[int], item: int) -> list[int]:
    """The list, longer by one."""
    items.append(item)
    return items


@task
def change_setting(value: str) -> str:
    """What the context variable was when the task began."""
    found = SETTING.get()
    SETTING.set(value)
    return found


@task
async def change_setting_async(value: str) -> str:
    """What the context variable was when the task began."""
    await asyncio.sleep(0)
    found = SETTING.get()
    SETTING.set(value)
    return found


@task
def write_line(path: Path, line: str) -> None:
    """Append a line to a file."""
    append_line(path, line)


@task
def write_two_lines(path: Path, name: str) -> None:
    """Append to a file that the task begins, and that it ends."""
    append_line(path, f"{name} begins")
    append_line(path, f"{name} ends")


@task
async def write_two_lines_async(path: Path, name: str) -> None:
    """Append to a file that the task begins and, some turns of the event loop later, ends."""
    append_line(path, f"{name} begins")
    for _ in range(10):
        await asyncio.sleep(0)
    append_line(path, f"{name} ends")


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, in one piece even if several processes do so."""
    with path.open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


@task
def meet(address: Address, name: str) -> str:
    """The name, once the test lets go."""
    attend(address, name)
    return name


@task
async def meet_async(address: Address, name: str) -> str:
    """The name, once the test lets go."""
    await attend_async(address, name)
    return name


@task
def spin(address: Address, name: str) -> None:
    """Run Python code until the test lets go; it can be interrupted."""
    attend_in_python(address, name, stubbornly=False)


@task
def spin_stubbornly(address: Address, name: str) -> None:
    """Run Python code until the test lets go, whatever is raised in it."""
    attend_in_python(address, name, stubbornly=True)


@task
def tell_place() -> tuple[int, int]:
    """Where this runs: the process and the thread, by number."""
    return os.getpid(), threading.get_ident()


@task
def fail(message: str) -> NoReturn:
    """Raise a ValueError."""
    raise ValueError(message)


@task
async def fail_async(message: str) -> NoReturn:
    """Raise a ValueError, after a turn of the event loop."""
    await asyncio.sleep(0)
    raise ValueError(message)


@task(retries=2)
def fail_until(path: Path, success: int) -> int:
    """Which attempt this is, by the lines of a file; raise in those before `success`."""
    append_line(path, "attempt")
    attempt = len(path.read_text().splitlines())
    if attempt < success:
        raise ValueError(f"attempt {attempt}")
    return attempt


@task(retries=3, retry_on=FormattingError)
def fail_by_attempt(kinds: list[type[Exception]]) -> int:
    """Which attempt this is; raise in each for which there is an exception's type."""
    attempt = tell_attempt()
    if attempt <= len(kinds):
        raise kinds[attempt - 1](f"attempt {attempt}", attempt)
    return attempt


def tell_attempt() -> int:
    """Which attempt at its run this is."""
    return get_run_context().attempt


@task
def tell_context() -> Any:
    """What the run knows of itself."""
    return get_run_context()


@task
async def tell_context_async() -> Any:
    """What the run knows of itself, after a turn of the event loop."""
    await asyncio.sleep(0)
    return get_run_context()


@task
def log_and_print(text: str, *, printed: bool) -> None:
    """Log and print in turns."""
    logger = get_run_logger()
    logger.debug("%s: in detail", text)
    logger.info("%s: %d percent", text, 100)
    if printed:
        print(text, "printed", sep=", ")  # noqa: T201  # what becomes of it is tested
    try:
        raise_value_error()
    except ValueError:
        logger.exception("%s: 100%% wrong", text)


@task
async def log_and_print_async(text: str, *, printed: bool) -> None:
    """Do the same, after a turn of the event loop."""
    await asyncio.sleep(0)
    log_and_print(text, printed=printed)


@task
def describe(value: Any) -> list[str]:
    """The type and the text of a value."""
    return [type(value).__name__, str(value)]


@task
def return_state(state: State) -> State:
    """A state, which becomes the run's own."""
    return state


class Pair(NamedTuple):
    """Two values, as a named tuple."""

    first: Any
    second: Any = None


@dataclass
class Record:
    """Two values, as a dataclass."""

    first: Any
    second: Any = None


@attrs.frozen
class Frozen:
    """Two values, as an attrs class."""

    first: Any
    second: Any = None


class Numbers(list[Any]):
    """A list of a type of its own."""


class Block:
    """Bytes that are pickled out of band, as an array's are."""

    def __init__(self, data: bytes | bytearray | memoryview | pickle.PickleBuffer) -> None:
        self.view = memoryview(data)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[type[Self], tuple[Any]]:
        if protocol.__index__() < 5:
            return type(self), (bytes(self.view),)
        return type(self), (pickle.PickleBuffer(self.view),)

    def __len__(self) -> int:
        return self.view.nbytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and self.view == other.view

    __hash__ = None  # type: ignore[assignment]  # its bytes may change
