"""The thread that talks to Dask: it submits calls, and reports how they end."""

import pickle
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from logging import getLogger
from queue import Empty, SimpleQueue
from typing import Any, Final

import attrs

from runnerstone.programs import Program
from runnerstone.task_runners import Crash, Outcome, Pickled, Reference, TaskCall
from runnerstone_dask.entries import Entry, key_of
from runnerstone_dask.schedulers import PROGRAM_PREFIX
from runnerstone_dask.workers import load_program, place_of, run_call

# Of one graph: the scheduler takes it in at once, and does nothing else meanwhile.
GRAPH_CALLS: Final = 500
GRAPH_BYTES: Final = 4 * 1024 * 1024
# A program above this, in bytes, does not go through the scheduler.
LARGE_PROGRAM: Final = 16 * 1024
# Of all that Dask has at a time; the rest waits here.
CALLS_AT_ONCE: Final = 10_000
BYTES_AT_ONCE: Final = 64 * 1024 * 1024
# Between looks at whether the cluster is still there, in seconds, where nothing is heard of it.
QUIET_SECONDS: Final = 1.0
# How many of these pass before what Dask knows is compared with what was heard.
PATIENCE: Final = 5
_log: Final = getLogger("runnerstone.dask")


class Pump:
    """Submits calls to a Dask client, in graphs, and reports their ends.

    Which thread does what. Any thread may `put` a call. Dask's loop delivers events to `hear`. Both
    only append to a queue, which one thread empties, and that thread alone knows which calls are
    where: there is no lock. It asks Dask for nothing that waits for a call, and reports by
    `Report.post`, which does not block.

    Attributes:
        slots: How many calls the cluster's workers run at once.
    """

    def __init__(self, client: Any, topic: str, limit: int) -> None:
        """Prepare to pump.

        Args:
            client: Dask's.
            topic: Where ends are told.
            limit: Size up to which a value comes with its outcome, in bytes.
        """
        self._client: Final = client
        self._address = client.scheduler.address
        self._topic: Final = topic
        self._limit: Final = limit
        self._queue: SimpleQueue[tuple[Callable[..., None], Any]] = SimpleQueue()
        self._backlog: OrderedDict[str, Entry] = OrderedDict()  # by key: what Dask has not
        self._entries: dict[str, Entry] = {}  # by key: what Dask has
        self._nbytes = 0  # of the entries' contents
        self._programs: dict[bytes, Any] = {}  # as calls take them, by digest
        self._lost: set[str] = set()  # keys of values that are gone
        self._broken: str | None = None
        self._quiet = 0  # looks in a row at which nothing was heard
        self._stopped = False
        self.slots = sum(client.nthreads().values())
        self._thread = threading.Thread(target=self._run, name="DaskTaskRunner", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Submit a call, soon."""
        self._queue.put((self._take, entry))

    def forget(self, call: TaskCall) -> None:
        """Drop a call, if it has not ended; where Dask has not begun it, it hardly will."""
        self._queue.put((self._drop, key_of(call)))

    def hear(self, event: tuple[float, Any]) -> None:
        """Take an event of the topic; on Dask's loop."""
        self._queue.put((self._note, event[1]))

    def stop(self) -> None:
        """End the thread, report nothing more, and let go of all that Dask has."""
        self._stopped = True
        self._queue.put((self._note, None))
        self._thread.join()
        self._entries.clear()
        self._programs.clear()

    # On the thread

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._take_turn()
            except Exception:  # noqa: BLE001  # a cluster that is going away may raise anything
                _log.exception("The Dask cluster at %s gives trouble:", self._address)

    def _take_turn(self) -> None:
        is_waiting = bool(self._entries or self._backlog)
        try:
            handle, argument = self._queue.get(timeout=QUIET_SECONDS if is_waiting else None)
            self._quiet = 0
            while True:
                handle(argument)
                del argument  # it may hold a value
                handle, argument = self._queue.get_nowait()
        except Empty:
            if is_waiting:
                self._look()
        self._send_backlog()

    def _take(self, entry: Entry) -> None:
        self._backlog[entry.key] = entry

    def _drop(self, key: str) -> None:
        if self._remove(key) is None:  # else Dask drops what nobody holds a future of
            self._backlog.pop(key, None)

    def _remove(self, key: str) -> Entry | None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._nbytes -= entry.nbytes
        return entry

    def _note(self, event: Sequence[Any] | None) -> None:
        """Take what a worker says of a call, or the scheduler of a loss or of its workers."""
        if event is None:
            return
        kind, key, *told = event
        if kind == "lost":
            self._note_loss(key, *told)
        elif kind == "ended":
            self._note_end(key, *told)
        elif kind == "slots":
            self.slots = key
        elif kind == "restarted":
            self._programs.clear()
        elif key in self._entries:
            report = self._entries[key].report
            (report.started if kind == "started" else report.progressed)(*told)

    def _note_end(self, key: str, pickled: bytes, nbytes: int) -> None:
        entry = self._remove(key)
        if entry is None:
            return
        try:
            outcome: Outcome = pickle.loads(pickled)
        except Exception as error:  # noqa: BLE001  # the worker's runnerstone is another
            message = f"what the worker sent cannot be read here: {error!r}"
            self._crash(entry, Crash(message, error, is_permanent=True))
            return
        if nbytes:
            value = Reference(entry.future, nbytes=nbytes, where=outcome.where)
            outcome = attrs.evolve(outcome, value=value)
        entry.report.post(outcome)

    def _note_loss(self, key: str, text: str) -> None:
        entry = self._remove(key)
        if entry is None:
            self._lost.add(key)
            return
        lost = self._lost_slots(entry)
        if lost:
            message = "a worker that held a value which the call needs is gone"
        elif text:
            message = text
        else:
            message = "Dask dropped the call, as it does when somebody cancels or restarts"
        self._crash(entry, Crash(message, lost=lost))

    def _lost_slots(self, entry: Entry) -> tuple[int, ...]:
        return tuple(
            slot
            for slot, reference in zip(entry.parcel.slots, entry.parcel.kept, strict=True)
            if reference.handle.key in self._lost
            or reference.handle.status in {"cancelled", "lost"}
        )

    def _crash(self, entry: Entry, crash: Crash) -> None:
        entry.report.post(Outcome(problem=crash))

    def _send_backlog(self) -> None:
        while self._backlog and not self._stopped:
            graph: list[Entry] = []
            size = 0
            while self._backlog and len(graph) < GRAPH_CALLS and size < GRAPH_BYTES:
                if len(self._entries) >= CALLS_AT_ONCE or self._nbytes >= BYTES_AT_ONCE:
                    break
                _, entry = self._backlog.popitem(last=False)
                lost = self._lost_slots(entry)
                if self._broken is not None:
                    self._crash(entry, Crash(self._broken, is_permanent=True))
                elif lost:
                    self._crash(entry, Crash("a value which the call needs is gone", lost=lost))
                else:
                    graph.append(entry)
                    self._entries[entry.key] = entry
                    self._nbytes += entry.nbytes
                    size += entry.nbytes
            if not graph:
                return
            try:
                self._send(graph)
            except Exception as error:  # noqa: BLE001  # whatever Dask raises, it has not got them
                for entry in graph:
                    self._remove(entry.key)
                    message = f"Dask did not take the call: {error!r}"
                    self._crash(entry, Crash(message, error, is_permanent=True))

    def _send(self, graph: Sequence[Entry]) -> None:
        futures = self._client.map(
            run_call,
            [self._contents(entry) for entry in graph],
            [tuple(reference.handle for reference in entry.parcel.kept) for entry in graph],
            [self._program(entry.call.program) for entry in graph],
            key=[entry.key for entry in graph],
            topic=self._topic,
            limit=self._limit,
            pure=False,
        )
        for entry, future in zip(graph, futures, strict=True):
            entry.future = future

    def _contents(self, entry: Entry) -> Any:
        if type(entry.contents) is Pickled:
            # hash=False: else equal contents are one, which goes when the first call ends.
            return self._client.scatter(entry.contents, hash=False)
        return entry.contents

    def _program(self, program: Program) -> Any:
        """The program as calls take it: the digest of one that the scheduler keeps for the workers.

        Or the future of a large one. No other is a key of its own, since Dask sends a call to where
        what it needs is: a few calls of one task would queue for the worker that has their program.
        """
        item = self._programs.get(program.digest)
        if item is None or (type(item) is not bytes and item.status not in {"finished", "pending"}):
            pickled = pickle.dumps(program, protocol=5)
            if len(pickled) > LARGE_PROGRAM:
                item = self._spread(program, pickled)
            else:
                item = program.digest
                self._client.set_metadata(place_of(item, self._topic), pickled)
            self._programs[program.digest] = item
        return item

    def _spread(self, program: Program, pickled: bytes) -> Any:
        """The future of a large program that all workers have, if there are any yet."""
        if self._client.nthreads():
            return self._client.scatter(program, broadcast=True, hash=False)
        key = f"{PROGRAM_PREFIX}-{uuid.uuid4().hex}"
        return self._client.submit(load_program, pickled, key=key, pure=False)

    def _look(self) -> None:
        """See whether the cluster is still there, having heard nothing of it for a while."""
        self._quiet += 1
        if self._client.status != "running":
            self._broken = f"the connection to the Dask scheduler at {self._address} is lost"
            for entry in [*self._entries.values()]:
                self._remove(entry.key)
                self._crash(entry, Crash(self._broken, is_permanent=True))
        elif self._quiet % PATIENCE == 0:
            self._compare()
            self._warn_of_want()

    def _compare(self) -> None:
        """End what has ended without a word: no event may ever have told of it."""
        for entry in [*self._entries.values()]:
            status = entry.future.status
            if status != "pending":
                self._note_loss(entry.key, f"Dask calls the call {status}, and no outcome has come")

    def _warn_of_want(self) -> None:
        if self._quiet == PATIENCE and not self._client.nthreads():
            _log.warning(
                "%d calls wait for a worker: the Dask cluster at %s has none; to start one: "
                "dask worker %s",
                len(self._entries) + len(self._backlog),
                self._address,
                self._address,
            )
