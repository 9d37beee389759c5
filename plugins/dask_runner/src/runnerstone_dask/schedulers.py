"""What Dask's scheduler is taught while a flow runs on it.

Dask computes again, silently, what a dead worker was computing and what it held. A flow run's calls
must run once: what is lost is said to be lost, and whether to try again is the engine's to decide.
"""

from typing import Any

PROGRAM_PREFIX = "runnerstone_program"
"""Keys of large programs begin so. They may be computed as often as Dask likes."""


def at_most_once(owner: str, topic: str) -> Any:  # noqa: C901  # a class that has to be made here
    """A plugin for the scheduler, which has a client's calls run at most once, and tells losses.

    It tells them on the client's topic, as ``["lost", key, text]``: of a call that will not end,
    and of a value that is gone. As ``["slots", count]`` it tells how many calls the workers run at
    once, when that changes, and as ``["restarted", ""]`` that the scheduler has forgotten all. It
    goes when its client does.

    The class is made here so that it travels by value: the scheduler need not import this module.

    Args:
        owner: The client's id.
        topic: The client's topic, of which the scheduler shall keep no events.
    """
    from distributed.diagnostics.plugin import SchedulerPlugin  # slow, and loaded where Dask runs

    prefix = PROGRAM_PREFIX

    class AtMostOnce(SchedulerPlugin):
        name = topic

        def __init__(self) -> None:
            self.running: set[Any] = set()
            self.held: set[Any] = set()

        async def start(self, scheduler: Any) -> None:
            self.scheduler = scheduler

        def update_graph(
            self, scheduler: Any, *, client: str, tasks: list[Any], **_more: Any
        ) -> None:
            if client != owner:
                return
            for key in tasks:
                if not key.startswith(prefix):
                    self.running.add(key)
                    scheduler.tasks[key].suspicious = scheduler.allowed_failures

        def transition(self, key: Any, start: str, finish: str, *_: Any, **_more: Any) -> None:
            if key in self.running:
                if finish == "memory":
                    self.running.discard(key)
                    self.held.add(key)
                    self.scheduler.tasks[key].run_spec = None
                elif finish == "erred":
                    self.running.discard(key)
                    self.tell(key, self.reason(self.scheduler.tasks[key]))
                elif finish == "forgotten":
                    self.running.discard(key)
                    self.tell(key, "")
            elif key in self.held and finish in {"released", "forgotten"}:
                self.held.discard(key)
                task = self.scheduler.tasks.get(key)
                if task is not None and task.who_wants:
                    self.tell(key, "")

        def reason(self, task: Any) -> str:
            if task.exception_text:
                return str(task.exception_text)
            blamed = task.exception_blame
            if blamed is not None and blamed.key != task.key:
                return f"what the call needs is lost: {blamed.key}"
            workers = ", ".join(map(str, task.erred_on or ()))
            return f"worker {workers} died, and had the call, begun or not"

        def tell(self, key: Any, text: str) -> None:
            self.scheduler.log_event(topic, ["lost", key, text])

        def restart(self, scheduler: Any) -> None:
            scheduler.log_event(topic, ["restarted", ""])

        def add_worker(self, scheduler: Any, worker: str) -> None:
            scheduler.log_event(topic, ["slots", scheduler.total_nthreads])

        def remove_worker(self, scheduler: Any, worker: str, **_more: Any) -> None:
            scheduler.log_event(topic, ["slots", scheduler.total_nthreads])

        def log_event(self, name: str, msg: Any) -> None:
            if name == topic:
                self.scheduler._broker.truncate(topic)  # noqa: SLF001  # or it keeps the last 1,000

        def remove_client(self, scheduler: Any, client: str) -> None:
            if client == owner:
                scheduler.remove_plugin(topic)
                scheduler.task_metadata.pop(topic, None)  # the programs
                scheduler._broker._topics.pop(topic, None)  # noqa: SLF001  # or it keeps it for ever

    return AtMostOnce()
