"""A connection to Ray: how it is made or found, watched and left."""

from collections.abc import Mapping, Sequence
from logging import getLogger
from typing import Any, Final

import attrs

from runnerstone.errors import TaskRunnerStartError, ValueLostError
from runnerstone.task_runners import Pickled, Reference
from runnerstone_ray.attachments import attach
from runnerstone_ray.environments import (
    GUARD,
    Environment,
    has_token,
    import_ray,
    new_folder,
    remove_folder,
)
from runnerstone_ray.losses import describe, is_loss
from runnerstone_ray.pumps import Pump
from runnerstone_ray.watchdogs import Watchdog, ask_nodes

# How long Ray is first waited for when it brings values, before a look at whether it can. A wait
# that ends begins the transfer again, so each is twice as long as the one before.
FETCH_SECONDS: Final = 5.0
QUIET: Final = {"log_to_driver": False, "logging_level": "ERROR"}
LOCAL: Final = {"include_dashboard": False}
_log: Final = getLogger("runnerstone.ray")


def only_names(settings: Mapping[str, Any]) -> str:
    """What is shown of settings that may be secrets."""
    return f"{{{', '.join(f'{name!r}: ...' for name in settings)}}}"


@attrs.frozen(kw_only=True)
class SessionChoice:
    """Which session a task runner wants; see `RayTaskRunner` for the attributes."""

    address: str | None
    init_kwargs: Mapping[str, Any]
    timeout_seconds: float = attrs.field(eq=False)

    def __str__(self) -> str:
        cluster = f"the cluster at {self.address}" if self.address else "a local cluster"
        return f"{cluster} with init_kwargs={only_names(self.init_kwargs)}"


class Session:
    """A connection that was made, or found.

    Attributes:
        choice: What was asked for.
        loss: How the cluster was lost; None as long as it is there.
    """

    def __init__(self, choice: SessionChoice) -> None:
        self.choice: Final = choice
        self.loss: str | None = None
        self._pumps: set[Pump] = set()
        self._environment = Environment()
        self._is_ours = False
        self._is_nested = False  # in a task of Ray's
        self._folder: str | None = None
        self._watchdog: Watchdog | None = None

    def open(self) -> None:
        """Use what is there, or connect; on the shielded thread.

        Raises:
            TaskRunnerStartError: If that cannot be done.
        """
        try:
            self._open()
        finally:
            self._environment.note()

    def _open(self) -> None:
        if self.choice.address is not None and has_token():
            # Ray refuses to show a token to a cluster at a given address unless told to, and the
            # cluster, which wants it by default, then refuses the driver.
            self._environment.set({"RAY_AUTH_MODE": "token"})
        self._environment.set(GUARD)
        import_ray()
        import ray

        if ray.is_initialized():
            self._use_existing()
            return
        if self.choice.address is None:
            self._is_ours = True  # to be shut down wherever starting gets to
            self._start()
        else:
            attach(
                self.choice.address,
                {**QUIET, **self.choice.init_kwargs},
                self.choice.timeout_seconds,
            )
        self._is_ours = True
        self._watch()

    def _start(self) -> None:
        """Start a cluster on this machine."""
        import ray

        options = {**QUIET, **LOCAL, **self.choice.init_kwargs}
        if "_temp_dir" not in options:
            self._folder = new_folder()
            options["_temp_dir"] = self._folder
        _log.info("Starting a Ray cluster on this machine")
        try:
            # Never None: that may find a cluster of somebody else's, by a variable or a file.
            ray.init("local", **options)
        except Exception as error:
            raise TaskRunnerStartError(
                f"Ray could not be started on this machine: {str(error) or type(error).__name__}"
            ) from error

    def _use_existing(self) -> None:
        import ray

        context = ray.get_runtime_context()
        if context.worker.mode == ray.WORKER_MODE:
            self._is_nested = True
            return  # the task has a connection, and ends with it
        found = context.gcs_address
        if self.choice.init_kwargs or self.choice.address not in {None, found, "auto"}:
            raise TaskRunnerStartError(
                f"this process has called ray.init() already, and is connected to {found}; the "
                f"task runner asks for {self.choice}: call ray.shutdown() first, or leave the "
                "task runner's settings out, to use that connection"
            )
        _log.warning(
            "Using the connection to Ray that is there already, to %s. If that cluster's control "
            "process (GCS) is lost, Ray will end this process; it would not if the task runner had "
            "made the connection",
            found,
        )
        self._watch()

    def _watch(self) -> None:
        import ray

        self._watchdog = Watchdog(ray.get_runtime_context().gcs_address, self._lose)

    def _lose(self, loss: str) -> None:
        """End what is pending; on the watchdog's thread."""
        _log.error("%s%s", loss[0].upper(), loss[1:])
        self.loss = loss
        for pump in list(self._pumps):
            pump.abandon(loss)

    def new_pump(self, limit: int) -> Pump:
        """A pump, which is told if the cluster is lost.

        Args:
            limit: Size up to which a value comes to the driver with the outcome, in bytes.
        """
        # The task that waits for nested calls keeps its CPU. If they took others, tasks that have
        # them all would wait for ever; so they take none, and are few.
        few = {"most_calls": self.cpus() or 1, "cpus": 0} if self._is_nested else {}
        pump = Pump(limit, **few)
        self._pumps.add(pump)
        if self.loss is not None:
            pump.abandon(self.loss)
        return pump

    def remove(self, pump: Pump) -> None:
        """Tell a pump nothing any more; harmless twice."""
        self._pumps.discard(pump)

    def close(self) -> None:
        """Leave Ray as it was found; on the shielded thread."""
        import ray

        if self._watchdog is not None:
            self._watchdog.stop()
        try:
            if self._is_ours:
                ray.shutdown(wait_for_processes=True)
        finally:
            if self._folder is not None:
                remove_folder(self._folder)
            self._environment.restore()

    def cpus(self) -> int | None:
        """How many calls run at once now; None if that is none, or cannot be found out."""
        try:
            return int(sum(ask_nodes().values())) or None
        except Exception as error:  # noqa: BLE001  # no answer: the watchdog sees to that
            _log.debug("The Ray cluster does not tell its machines: %r", error)
            return None

    def fetch(self, references: Sequence[Reference]) -> list[Pickled]:
        """Bring values here.

        Raises:
            ValueLostError: If one is gone, or the cluster is.
        """
        import ray

        handles = [reference.handle for reference in references]
        seconds = FETCH_SECONDS
        while self.loss is None:
            try:
                values: list[Pickled] = ray.get(handles, timeout=seconds)
            except ray.exceptions.GetTimeoutError:
                seconds *= 2
                continue
            except Exception as error:
                if not is_loss(error):
                    raise
                raise ValueLostError(describe(references, error)) from error
            return values
        raise ValueLostError(self.loss)
