"""The cluster that a task runner runs on: one of its own, or one that is there already."""

import asyncio
import inspect
import multiprocessing.spawn
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from logging import getLogger
from typing import Any, Final

import attrs

from runnerstone.errors import TaskRunnerStartError
from runnerstone.shields import shielded

LOCAL_CLUSTER: Final = "distributed.deploy.local.LocalCluster"
# How long the client collects what it sends, in seconds, instead of Dask's 10 ms: a call that waits
# for another is sent when that has ended, and would pay this for each link of a chain.
SEND_INTERVAL_SECONDS: Final = 0.001
DAEMON: Final = "distributed.worker.daemon"
# A dashboard that other machines do not see, on any free port.
LOCAL_DEFAULTS: Final = {"dashboard_address": "127.0.0.1:0"}
_log: Final = getLogger("runnerstone.dask")


@attrs.frozen(kw_only=True)
class ClusterChoice:
    """Which cluster to run on, and how to talk to it; see `DaskTaskRunner` for the attributes."""

    address: str | None
    cluster: Any
    cluster_class: str | Callable[..., Any] | None
    cluster_kwargs: Mapping[str, Any]
    adapt_kwargs: Mapping[str, Any]
    client_kwargs: Mapping[str, Any]
    timeout_seconds: float


class Connection:
    """A client, and the cluster behind it if that is ours.

    Attributes:
        client: The client; None before `open`.
    """

    def __init__(self, choice: ClusterChoice) -> None:
        self._choice: Final = choice
        self._cluster: Any = None  # ours, to be closed
        self.client: Any = None

    @property
    def is_ours(self) -> bool:
        """Whether the cluster was started here."""
        return self._cluster is not None

    @property
    def address(self) -> str:
        """Where the scheduler is."""
        return str(self.client.scheduler.address)

    def open(self) -> None:
        """Start or find the cluster, and connect.

        Raises:
            TaskRunnerStartError: If there is none, or it does not answer in time.
        """
        choice = self._choice
        if choice.cluster is not None:
            self._connect(choice.cluster)
        elif choice.address is not None:
            _log.info("Connecting to the Dask cluster at %s", choice.address)
            address = choice.address if "://" in choice.address else f"tcp://{choice.address}"
            with self._refusals(address):
                greet(address, choice.timeout_seconds)
            self._connect(address)
        else:
            shielded(self._create)
            self._connect(self._cluster)
        link = self.client.dashboard_link
        if link:
            _log.info("The Dask dashboard is available at %s", link)

    def _create(self) -> None:
        """Start a cluster; on the shielded thread."""
        choice = self._choice
        create = find_cluster_class(choice.cluster_class or LOCAL_CLUSTER)
        path = f"{create.__module__}.{getattr(create, '__qualname__', type(create).__qualname__)}"
        _log.info("Creating a new Dask cluster with `%s`", path)
        defaults = LOCAL_DEFAULTS if path == LOCAL_CLUSTER else {}
        _worker_starts.begin()
        try:
            self._cluster = checked_cluster(create(**{**defaults, **choice.cluster_kwargs}))
            if choice.adapt_kwargs:
                adapting = self._cluster.adapt(**choice.adapt_kwargs)
                if inspect.isawaitable(adapting):  # as some cluster classes have it
                    self._cluster.sync(partial(_awaited, adapting))
        except Exception as error:
            why = f"{error}" + (f" ({error.__cause__})" if error.__cause__ else "")
            raise TaskRunnerStartError(f"`{path}` could not start a cluster: {why}") from error
        finally:
            if self._cluster is None:
                _worker_starts.end()

    def _connect(self, target: Any) -> None:
        from distributed import Client  # heavy, and needed only where a flow runs on Dask

        options = {
            "set_as_default": False,
            "timeout": self._choice.timeout_seconds,
            **self._choice.client_kwargs,
        }
        client = Client.__new__(Client)  # at hand, to be ended, if it cannot be made
        with self._refusals(getattr(target, "scheduler_address", target)):
            try:
                client.__init__(target, **options)  # type: ignore[misc]  # see above
            except Exception:
                client.status = "closed"  # else it tries to be closed, for a minute, at the exit
                if hasattr(client, "_loop_runner"):
                    client._loop_runner.stop()  # noqa: SLF001  # which closing it would do
                raise
        self.client = client
        self.client.scheduler_comm.interval = SEND_INTERVAL_SECONDS

    @contextmanager
    def _refusals(self, address: str) -> Iterator[None]:
        """Translate what is raised where no scheduler answers."""
        try:
            yield
        except Exception as error:
            seconds = self._choice.timeout_seconds
            raise TaskRunnerStartError(
                f"no Dask scheduler answers at {address} within {seconds} s "
                f"({str(error) or type(error).__name__}); is it running, and is this its address "
                "and not its dashboard's? to wait longer: start_timeout_seconds"
            ) from error

    def close(self) -> None:
        """Leave the cluster, and end it if it is ours; what is not there any more is no trouble."""
        if self.client is not None:
            self.client.close(timeout=self._choice.timeout_seconds)
        shielded(self._end)

    def _end(self) -> None:
        if self._cluster is not None:
            try:
                self._cluster.close(timeout=self._choice.timeout_seconds)
            finally:
                self._cluster = None
                _worker_starts.end()


def greet(address: str, timeout_seconds: float) -> None:
    """Check an address, and that Dask answers there if it is one without encryption.

    Dask's client waits for ever for an answer from what accepts its connection and is no Dask.

    Raises:
        Exception: What Dask, or the lapse of time, raises.
    """
    from distributed.comm.core import connect  # heavy, and needed only where a flow runs on Dask
    from distributed.comm.registry import get_backend

    scheme, _, _ = address.partition("://")
    get_backend(scheme)
    if scheme != "tcp":
        return

    async def greeting() -> None:
        async with asyncio.timeout(timeout_seconds):
            comm = await connect(address, timeout=timeout_seconds)
        await comm.close()

    with ThreadPoolExecutor(1) as pool:  # this thread may run an event loop
        pool.submit(asyncio.run, greeting()).result()


def find_cluster_class(choice: str | Callable[..., Any]) -> Callable[..., Any]:
    """The class, or the function, that makes a cluster.

    Args:
        choice: Itself, or its path: ``package.module.Class`` or ``package.module:Class``.

    Raises:
        TaskRunnerStartError: If nothing is there.
    """
    if not isinstance(choice, str):
        return choice
    module, _, name = choice.replace(":", ".").rpartition(".")
    try:
        found: Callable[..., Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise TaskRunnerStartError(
            f"there is no cluster class {choice!r}: {error}; it is given as package.module.Class, "
            "and its package has to be installed"
        ) from error
    return found


def checked_cluster(made: Any) -> Any:
    """What a cluster class made; raises TypeError if that is no cluster."""
    if not hasattr(made, "scheduler_address"):
        raise TypeError(f"it made {made!r}, which is no cluster")
    return made


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


class _WorkerStarts:
    """How Dask's worker processes are started as long as a cluster of ours lives.

    They do not run the driver's main module: what they are sent of it goes by value, running it
    again costs time, and in a script without a guard it would start the flow again. And they are no
    daemons, which may not have processes of their own; they end with the driver all the same.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the count and the replacing
        self._count = 0
        self._daemon: Any = None
        self._original: Any = multiprocessing.spawn.get_preparation_data

    def begin(self) -> None:
        import dask.config  # slow, and needed only where a flow runs on Dask
        import distributed.config  # noqa: F401  # which adds the default

        with self._lock:
            self._count += 1
            if self._count == 1:
                self._original = multiprocessing.spawn.get_preparation_data
                multiprocessing.spawn.get_preparation_data = self._data
                self._daemon = dask.config.get(DAEMON, None)
                dask.config.set({DAEMON: False})

    def end(self) -> None:
        import dask.config  # loaded by now

        with self._lock:
            self._count -= 1
            if not self._count:
                multiprocessing.spawn.get_preparation_data = self._original
                dask.config.set({DAEMON: self._daemon})

    def _data(self, name: str) -> dict[str, Any]:
        data: dict[str, Any] = self._original(name)
        if name.startswith("Dask Worker process"):
            data.pop("init_main_from_path", None)
            data.pop("init_main_from_name", None)
        return data


_worker_starts: Final = _WorkerStarts()
