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
            with self._refusals(choice.address):
                greet(choice.address, choice.timeout_seconds)
            self._connect(choice.address)
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
        _spare_main.begin()
        try:
            self._cluster = create(**{**defaults, **choice.cluster_kwargs})
            if choice.adapt_kwargs:
                adapting = self._cluster.adapt(**choice.adapt_kwargs)
                if inspect.isawaitable(adapting):  # as some cluster classes have it
                    self._cluster.sync(partial(_awaited, adapting))
        except Exception as error:
            raise TaskRunnerStartError(f"`{path}` could not start a cluster: {error}") from error
        finally:
            if self._cluster is None:
                _spare_main.end()

    def _connect(self, target: Any) -> None:
        from distributed import Client  # heavy, and needed only where a flow runs on Dask

        options = {
            "set_as_default": False,
            "timeout": self._choice.timeout_seconds,
            **self._choice.client_kwargs,
        }
        with self._refusals(getattr(target, "scheduler_address", target)):
            self.client = Client(target, **options)
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
                _spare_main.end()


def greet(address: str, timeout_seconds: float) -> None:
    """Check that a Dask process answers at an address without encryption; others are not asked.

    Dask's client waits for ever for an answer from what accepts its connection and is no Dask.

    Raises:
        Exception: What Dask, or the lapse of time, raises.
    """
    if not address.startswith("tcp://"):
        return
    from distributed.comm.core import connect  # heavy, and needed only where a flow runs on Dask

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


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


class _SpareMain:
    """Keeps Dask's worker processes from running the driver's main module.

    What they are sent of it goes by value. Running it again costs time, and in a script without a
    guard it would start the flow again. As long as a cluster of ours lives, it may start processes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the count and the replacing
        self._count = 0
        self._original: Any = multiprocessing.spawn.get_preparation_data

    def begin(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._original = multiprocessing.spawn.get_preparation_data
                multiprocessing.spawn.get_preparation_data = self._data

    def end(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                multiprocessing.spawn.get_preparation_data = self._original

    def _data(self, name: str) -> dict[str, Any]:
        data: dict[str, Any] = self._original(name)
        if name.startswith("Dask Worker process"):
            data.pop("init_main_from_path", None)
            data.pop("init_main_from_name", None)
        return data


_spare_main: Final = _SpareMain()
