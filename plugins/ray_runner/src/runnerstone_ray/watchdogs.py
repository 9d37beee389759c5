"""Noticing that a Ray cluster is gone, which Ray itself answers with waiting for ever."""

import threading
import time
from collections.abc import Callable
from logging import getLogger
from typing import Any, Final

INTERVAL_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 5.0  # longest wait for one answer
# How long a cluster may give no answer: its control process may be restarting.
BOUND_SECONDS: Final = 15.0
_log: Final = getLogger("runnerstone.ray")


class Watchdog:
    """Asks the cluster's control process for its machines, now and then, until told to stop.

    It has a thread of its own.
    """

    def __init__(self, address: str, on_loss: Callable[[str], None]) -> None:
        """Start watching.

        Args:
            address: The cluster's, for messages.
            on_loss: Called once, on the watchdog's thread, with what happened.
        """
        self._address = address
        self._on_loss = on_loss
        self._ended = threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._run, name="RayWatchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and wait for the thread."""
        self._ended.set()
        self._thread.join(2 * ANSWER_SECONDS)

    def _run(self) -> None:
        answered = time.monotonic()
        while not self._ended.is_set():
            try:
                loss = self._look()
            except Exception as error:  # noqa: BLE001  # no answer, whatever the reason
                silent = time.monotonic() - answered
                loss = None
                if silent >= BOUND_SECONDS:
                    loss = (
                        f"the Ray cluster at {self._address} is lost: its control process (GCS) "
                        f"has not answered for {silent:.0f} s: {error}"
                    )
            else:
                answered = time.monotonic()
            if loss is not None and not self._ended.is_set():
                self._on_loss(loss)
                return
            self._ended.wait(INTERVAL_SECONDS)

    def _look(self) -> str | None:
        """How the cluster is lost, or None; raises if it does not answer."""
        import ray  # loaded by now

        if not ray.is_initialized():
            return "the Ray session is over: something has called ray.shutdown() in this process"
        own = ray.get_runtime_context().get_node_id()
        nodes = ask_nodes()
        if own not in nodes:
            return (
                f"the Ray cluster at {self._address} is lost: Ray's raylet process on this machine "
                "died"
            )
        self._warn_if_idle(sum(nodes.values()))
        return None

    def _warn_if_idle(self, cpus: float) -> None:
        if cpus < 1 and not self._warned:
            _log.warning(
                "The Ray cluster at %s has no CPU for tasks: each waits until a machine with at "
                "least one joins, for example by `ray start --address=%s`",
                self._address,
                self._address,
            )
        self._warned = cpus < 1


def ask_nodes() -> dict[str, float]:
    """The number of CPUs of each machine that is part of the cluster now, by Ray's id for it.

    Raises:
        Exception: If the control process does not answer in time.
    """
    from ray._private.worker import global_worker  # the public `ray.nodes()` waits for ever
    from ray.core.generated import gcs_pb2

    worker: Any = global_worker
    generated: Any = gcs_pb2  # its types are made at run time
    client = worker.gcs_client
    nodes = client.get_all_node_info(timeout=ANSWER_SECONDS)
    return {
        node_id.hex(): node.resources_total.get("CPU", 0.0)
        for node_id, node in nodes.items()
        if node.state == generated.GcsNodeInfo.ALIVE
    }
