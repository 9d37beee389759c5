"""Where tasks and the test meet, whichever processes they run in."""

import asyncio
import select
import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

Address = tuple[str, int]


class Meeting:
    """A place where tasks wait until the test lets them go; a socket on the loopback interface.

    Nothing polls: the test blocks in accepting, the tasks block in reading. Closing the meeting
    lets all of them go, also those that come later, so that no failure leaves a task waiting.
    """

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._guests: dict[str, socket.socket] = {}
        host, port = self._listener.getsockname()
        self.address: Final[Address] = (host, port)

    def wait_for(self, count: int) -> list[str]:
        """Block until `count` tasks in all are here; return their names in the order of arrival.

        Raises:
            AssertionError: If they do not come.
        """
        deadline = time.monotonic() + self._patience_seconds
        while len(self._guests) < count:
            self._listener.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                guest, _ = self._listener.accept()
            except TimeoutError:
                self.close()
                raise AssertionError(
                    f"{count} calls have to run at the same time, and only {len(self._guests)} "
                    f"did within {self._patience_seconds} s: {', '.join(self._guests) or 'none'}"
                ) from None
            guest.settimeout(self._patience_seconds)
            with guest.makefile("r", encoding="utf-8") as lines:
                self._guests[lines.readline().rstrip()] = guest
        return list(self._guests)

    def has_left(self, name: str) -> bool:
        """Block until a task that was here is gone; return whether it is."""
        try:
            return self._guests[name].recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def close(self) -> None:
        """Let all go."""
        self._listener.close()
        for guest in self._guests.values():
            guest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def attend(address: Address, name: str) -> None:
    """Tell the test that `name` is here, and block until it lets go."""
    with suppress(ConnectionError), socket.socket() as seat:
        seat.connect(address)
        seat.sendall(f"{name}\n".encode())
        seat.recv(1)


async def attend_async(address: Address, name: str) -> None:
    """Do the same in an event loop, which goes on meanwhile."""
    with suppress(ConnectionError):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(f"{name}\n".encode())
            await reader.read(1)
        finally:
            writer.close()
            await writer.wait_closed()


def attend_in_python(address: Address, name: str, *, stubbornly: bool) -> None:
    """Do the same in a loop of Python code, which can be interrupted.

    Args:
        stubbornly: Ignore what interrupts.
    """
    with suppress(ConnectionError), socket.socket() as seat:
        seat.connect(address)
        seat.sendall(f"{name}\n".encode())
        while True:
            try:
                if select.select([seat], [], [], 0.02)[0]:
                    return
            except BaseException:
                if not stubbornly:
                    raise
