"""The processes of one flow run, and who executes what."""

import threading
import time
from collections import OrderedDict
from logging import getLogger
from multiprocessing import Pipe
from typing import Final

import attrs

from runnerstone.shields import shielded
from runnerstone.task_runners import Crash, Outcome, Reference, TaskCall
from runnerstone_process.files import ValueFile
from runnerstone_process.messages import progress_in, unpack
from runnerstone_process.processes import GRACE_SECONDS, Job, WorkerProcess
from runnerstone_process.sources import Sources
from runnerstone_process.workers import Settings

# How many processes may be gone before they could be sent a call.
REFUSALS: Final = 3
_log: Final = getLogger("runnerstone.process")


class Pool:
    """Executes calls in processes, one at a time in each, and starts these when they are needed.

    Which thread does what. A call is sent to an idle process by the thread that submits it, and to
    one that has just become idle by the pump, the only thread that receives, and that learns of
    deaths. Until a call is sent, it and the connection are the sender's, also if the process dies
    meanwhile. Processes are started on the shielded thread. The lock guards which processes there
    are, which are idle, what each executes and what waits. Nothing is sent, received, started,
    reported or pickled while it is held.

    Attributes:
        limit: How many processes there may be.
    """

    def __init__(self, limit: int, settings: Settings) -> None:
        """Prepare to start processes.

        Args:
            limit: How many there may be.
            settings: What each of them is told.
        """
        self.limit = limit
        self._settings: Final = settings
        self._lock: Final = threading.Lock()
        self._waiting: OrderedDict[str, Job] = OrderedDict()  # by the call's id
        self._idle: list[WorkerProcess] = []
        self._workers: list[WorkerProcess] = []
        self._count = 0  # how many there are, and are about to be
        self._starting = 0  # how many of these are not ready
        self._stopped = False
        self._pump: threading.Thread | None = None
        self._listener, self._bell = Pipe(duplex=False)  # wakes the pump
        self._sources = Sources(self._listener)

    def submit(self, job: Job) -> None:
        """Have a call executed; raises RuntimeError once stopped."""
        worker = None
        hiring = False
        with self._lock:
            if self._stopped:
                raise RuntimeError("the task runner is stopped")
            if self._idle:
                worker = self._idle.pop()
                worker.job = job
            else:
                self._waiting[job.call.id] = job
                hiring = self._may_hire()
        if worker is not None:
            self._execute(worker, job)
        elif hiring:
            shielded(self._hire)

    def cancel(self, call: TaskCall) -> None:
        """Forget a call that waits, kill the process that executes it, or do nothing."""
        with self._lock:
            if self._waiting.pop(call.id, None) is not None:
                return
            for worker in self._workers:
                if worker.job is not None and worker.job.call.id == call.id:
                    worker.job.is_cancelled = True
                    self._doom(worker)
                    return

    def stop(self) -> None:
        """End all processes, those that execute something at once; harmless twice."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            self._waiting.clear()
        shielded(lambda: None)  # a process that was being started is among the workers now
        with self._lock:
            for worker in self._workers:
                if worker.job is not None:
                    self._doom(worker)
        if self._pump is not None:
            self._ring()
            self._pump.join()
        for worker in self._workers:
            if worker.job is None or worker.job.is_sent:
                worker.dismiss()
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self._workers:
            worker.bury(deadline)
        self._workers.clear()
        self._sources.close()
        self._bell.close()
        self._listener.close()

    def _doom(self, worker: WorkerProcess) -> None:
        """Kill a process, unless it was killed or has died: its pid may be another's; locked."""
        if not worker.doomed:
            worker.doomed = True
            worker.kill()

    def _may_hire(self) -> bool:
        """Whether a process is to be started for what waits; under the lock, and then `_hire`."""
        if self._stopped or self._starting >= len(self._waiting):
            return False
        if self._count >= self.limit:
            return False
        self._count += 1
        self._starting += 1
        if self._pump is None:
            self._pump = threading.Thread(target=self._run, name="ProcessTaskRunner", daemon=True)
            self._pump.start()
        return True

    def _hire(self) -> None:
        """Start a process; on the shielded thread."""
        try:
            worker = WorkerProcess(self._settings)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is told
            # loky fails to clean up after what went wrong first.
            first = error.__context__ if isinstance(error, UnboundLocalError) else error
            self._make_do(f"a worker process could not be started: {first!r}")
        else:
            with self._lock:
                self._workers.append(worker)  # also if stopped: `stop` waits for this
            self._sources.add(worker)
        self._ring()

    def _make_do(self, trouble: str) -> None:
        """Go on with the processes that there are; if there are none, crash a call that waits."""
        job = None
        with self._lock:
            self._count -= 1
            self._starting -= 1
            if self._count:
                self.limit = self._count
            elif self._waiting:
                job = self._waiting.popitem(last=False)[1]
        if job is None:
            _log.warning("%s; going on with %d", trouble, self.limit)
        else:
            job.report.post(Outcome(problem=Crash(trouble)))

    def _ring(self) -> None:
        self._bell.send_bytes(b"")

    def _execute(self, worker: WorkerProcess, job: Job) -> None:
        """Send a call to a process that is no longer idle."""
        job.report.started(worker.where)
        refusal = None
        try:
            worker.execute(job)
        except OSError as error:  # it has died, before it could begin
            refusal = str(error)  # the exception would hold this frame, and what was sent
        with self._lock:
            is_gone = worker.is_gone
            if refusal is None:
                job.is_sent = True
            else:
                worker.job = None
                worker.doomed = True
        if refusal is not None:
            self._send_elsewhere(job, refusal)
        elif is_gone:
            self._tell_death(worker, job)
        if is_gone:
            worker.dismiss()

    def _send_elsewhere(self, job: Job, refusal: str) -> None:
        job.refusals += 1
        with self._lock:
            again = job.refusals < REFUSALS and not job.is_cancelled
            if again:
                self._waiting[job.call.id] = job
        if again:
            self._ring()
        else:
            problem = Crash(f"its process died before it could be sent the call: {refusal}")
            job.report.post(Outcome(problem=problem))

    def _tell_death(self, worker: WorkerProcess, job: Job) -> None:
        problem = Crash(f"{worker.obituary()} while it ran task run {job.call.name!r}")
        job.report.post(Outcome(problem=problem))

    # The pump

    def _run(self) -> None:
        while not self._stopped:
            for source in self._sources.wait():
                if source is None:
                    self._listener.recv_bytes()
                    self._assign()
                elif not source[0].is_gone:  # what was ready beside may have told of it
                    self._attend(*source)

    def _attend(self, worker: WorkerProcess, is_readable: bool) -> None:  # noqa: FBT001  # as it comes
        """Take what a process has sent, or note its death."""
        answer = worker.receive(is_readable=is_readable)
        if answer is None:
            self._bury(worker)
            return
        progress = progress_in(answer)
        if progress is not None:
            if worker.job is not None:  # the job is the process's until its end
                worker.job.report.progressed(progress)
            return
        with self._lock:
            if not worker.is_ready:  # this is the news that it is
                worker.is_ready = True
                self._starting -= 1
            ended, worker.job = worker.job, None
            if self._waiting and not worker.doomed:
                worker.job = self._waiting.popitem(last=False)[1]
            elif not worker.doomed:
                self._idle.append(worker)
            following = worker.job
        if following is not None:
            self._execute(worker, following)
        if ended is not None:
            outcome, file = unpack(answer)  # while the process does the next
            if file is not None:
                outcome = attrs.evolve(outcome, value=_reference(file, outcome.where))
            ended.report.post(outcome)

    def _bury(self, worker: WorkerProcess) -> None:
        self._sources.remove(worker)
        with self._lock:
            worker.doomed = True
        worker.bury()
        with self._lock:
            worker.is_gone = True
            self._workers.remove(worker)
            if worker in self._idle:
                self._idle.remove(worker)
            job = worker.job
        if job is None or job.is_sent:
            worker.dismiss()
        if not worker.is_ready:
            self._make_do(f"{worker.obituary()} before it could begin")
        else:
            with self._lock:
                self._count -= 1
        if job is not None and job.is_sent:
            self._tell_death(worker, job)
        self._assign()

    def _assign(self) -> None:
        """Give what waits to idle processes, and start others for the rest."""
        pairs = []
        with self._lock:
            while self._idle and self._waiting:
                worker = self._idle.pop()
                worker.job = self._waiting.popitem(last=False)[1]
                pairs.append((worker, worker.job))
            hiring = self._may_hire()
        for worker, job in pairs:
            self._execute(worker, job)
        if hiring:
            shielded(self._hire)


def _reference(file: ValueFile, where: str | None) -> Reference:
    return Reference(file, ValueFile.remove, nbytes=sum(file.sizes), where=where)
