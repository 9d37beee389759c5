"""How much is sent: between this process, Dask's scheduler and workers, Ray, and processes."""

import os
import socket
import stat
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from typing import Any

import attrs

from benchmarks.engines import Dask, Engine, Ray

SETTLING_SECONDS = 0.2
"""What follows the last result, such as that futures are dropped, is sent by then."""

# Where Linux tells how many bytes of a TCP connection have arrived: linux/tcp.h.
TCP_INFO_SIZE = 128
BYTES_ACKNOWLEDGED = 120


@attrs.define
class Wire:
    """What was sent, in bytes and in messages by their kinds.

    Attributes:
        out: Bytes from this process to the engine.
        to_workers: Bytes to the workers; None where that is not seen from here.
        back: Bytes from the workers to Dask's scheduler; None elsewhere.
        kinds: What the messages of this process were.
    """

    out: int = 0
    to_workers: int | None = None
    back: int | None = None
    kinds: Counter[str] = attrs.field(factory=Counter)


def counting(engine: Engine) -> AbstractContextManager[Wire]:
    """Count what is sent while a block lasts; the wire knows it after the block."""
    if isinstance(engine, Dask):
        return _on_dask(engine.cluster)
    return _on_ray() if isinstance(engine, Ray) else _on_connections()


@contextmanager
def _on_connections() -> Iterator[Wire]:
    """Count what goes through the standard library's connections."""
    wire = Wire()
    kind: Any = Connection
    send = kind._send_bytes  # noqa: SLF001  # what is public is bound early by queues

    def counted(self: Any, buffer: Any) -> None:
        wire.out += memoryview(buffer).nbytes
        wire.kinds["message"] += 1
        send(self, buffer)

    kind._send_bytes = counted  # noqa: SLF001  # for the block
    try:
        yield wire
    finally:
        kind._send_bytes = send  # noqa: SLF001  # as it was
    wire.to_workers = wire.out


@contextmanager
def _on_ray() -> Iterator[Wire]:
    """Count what this process sends over TCP, which is how Ray sends calls, and its functions."""
    from ray._private import function_manager  # no public way

    wire = Wire()
    kind: Any = function_manager.FunctionActorManager
    export = kind.export

    def counted(self: Any, function: Any) -> None:
        wire.kinds["function"] += 1
        export(self, function)

    kind.export = counted
    before = _tcp_bytes()
    try:
        yield wire
        time.sleep(SETTLING_SECONDS)
        wire.out = _tcp_bytes() - before
    finally:
        kind.export = export


def _tcp_bytes() -> int:
    """What has arrived of what this process has sent over the TCP connections that it has."""
    return sum(_acknowledged(int(name)) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208  # names


def _acknowledged(descriptor: int) -> int:
    """The same of one open file; 0 if it is no such connection."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return 0
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
    except OSError:  # another kind of socket, or closed meanwhile
        return 0
    told: int = struct.unpack_from("Q", info, BYTES_ACKNOWLEDGED)[0]
    return told


Ends = tuple[str, str]
"""The addresses of a connection: of who sends, and of who receives."""


@attrs.define
class _Written:
    """What a process has written through Dask's connections."""

    nbytes: Counter[Ends] = attrs.field(factory=Counter)
    kinds: Counter[tuple[Ends, str]] = attrs.field(factory=Counter)


_written = _Written()
_write: Callable[..., Any] | None = None


@contextmanager
def _on_dask(cluster: Any) -> Iterator[Wire]:
    """Count on a cluster whose scheduler is in this process."""
    from distributed import Client

    wire = Wire()
    scheduler = cluster.scheduler_address
    with Client(cluster, set_as_default=False) as client:
        client.run(_start_counting)
        _start_counting()
        try:
            yield wire
            time.sleep(SETTLING_SECONDS)
        finally:
            here = _stop_counting()
            elsewhere = client.run(_stop_counting).values()
    clients = {ends[0] for ends in here.nbytes if ends[1] == scheduler}
    for ends, nbytes in here.nbytes.items():
        if ends[1] == scheduler:
            wire.out += nbytes
        elif ends[1] not in clients:
            wire.to_workers = (wire.to_workers or 0) + nbytes
    wire.kinds.update(
        {kind: count for (ends, kind), count in here.kinds.items() if ends[1] == scheduler}
    )
    wire.back = sum(
        nbytes
        for written in elsewhere
        for ends, nbytes in written.nbytes.items()
        if ends[1] == scheduler
    )


def _start_counting() -> None:
    """Count what this process writes through Dask's connections; in workers too."""
    global _write, _written  # noqa: PLW0603  # one a process
    from distributed.comm import tcp

    _written = _Written()
    kind: Any = tcp.TCP
    _write = write = kind.write

    async def counted(self: Any, message: Any, *args: Any, **kwargs: Any) -> int:
        nbytes: int = await write(self, message, *args, **kwargs)
        ends = self.local_address, self.peer_address
        _written.nbytes[ends] += nbytes
        for part in message if isinstance(message, (list, tuple)) else (message,):
            operation = part.get("op", "answer") if isinstance(part, dict) else "answer"
            _written.kinds[ends, str(operation)] += 1
        return nbytes

    kind.write = counted


def _stop_counting() -> _Written:
    """What was written since."""
    from distributed.comm import tcp

    kind: Any = tcp.TCP
    if _write is not None:
        kind.write = _write
    return _written
