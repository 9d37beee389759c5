"""What the driver and its worker processes say to each other over their connection."""

import pickle
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# Before a message's head, the number of its buffers, in so many bytes.
COUNT_SIZE: Final = 4
# There instead, if the message is a pack's progress: no message has as many.
PROGRESS: Final = b"\xff" * COUNT_SIZE


def pack(content: Any) -> list[bytes | memoryview]:
    """A message, ready to be sent, in parts; the content's buffers are not copied."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
    count = len(buffers).to_bytes(COUNT_SIZE)
    return [count + head, *(buffer.raw() for buffer in buffers)]


def send(connection: "Connection[Any, Any]", message: list[bytes | memoryview]) -> None:
    """Send a message; raises OSError if nobody is left to receive it."""
    for part in message:
        connection.send_bytes(part)


def receive(connection: "Connection[Any, Any]") -> list[bytes]:
    """Wait for a message; return its parts. Raises EOFError or OSError if none will come."""
    first = connection.recv_bytes()
    count = 0 if first.startswith(PROGRESS) else int.from_bytes(first[:COUNT_SIZE])
    return [first, *(connection.recv_bytes() for _ in range(count))]


def unpack(message: list[bytes]) -> Any:
    """The content of a message that was received."""
    first, *buffers = message
    return pickle.loads(memoryview(first)[COUNT_SIZE:], buffers=buffers)


def send_progress(connection: "Connection[Any, Any]", progress: bytes) -> None:
    """Send what has become of a part of a pack; raises what `send` raises."""
    connection.send_bytes(PROGRESS + progress)


def progress_in(message: list[bytes]) -> bytes | None:
    """The progress of a pack, if a message that was received is one."""
    return message[0][COUNT_SIZE:] if message[0].startswith(PROGRESS) else None
