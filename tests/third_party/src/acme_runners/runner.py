"""The task runner."""

from queue import SimpleQueue
from threading import Thread

from runnerstone.task_runners import Capabilities, Report, TaskCall, TaskRunner


class AcmeTaskRunner(TaskRunner):
    """Runs calls on threads of its own."""

    threads: int = 2

    capabilities = Capabilities(shares_memory=True)

    def start(self) -> None:
        self._calls: SimpleQueue[tuple[TaskCall, Report] | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, name=f"acme-{n}") for n in range(self.threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: TaskCall, report: Report) -> None:
        self._calls.put((call, report))

    def _work(self) -> None:
        while pair := self._calls.get():
            call, report = pair
            report.done(call(*call.upstream))

    def slots(self) -> int:
        return self.threads

    def stop(self) -> None:
        threads, self._threads = getattr(self, "_threads", []), []
        for _ in threads:
            self._calls.put(None)
        for thread in threads:
            thread.join()
