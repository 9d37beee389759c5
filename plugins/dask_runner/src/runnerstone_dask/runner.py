"""The task runner."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from runnerstone.errors import ValueLostError
from runnerstone.task_runners import (
    Capabilities,
    Pickled,
    Reference,
    Report,
    TaskCall,
    TaskRunner,
)
from runnerstone_dask.clusters import ClusterChoice, Connection
from runnerstone_dask.entries import Entry
from runnerstone_dask.pumps import Pump
from runnerstone_dask.schedulers import at_most_once
from runnerstone_dask.versions import check_here, check_there


def _is_address(_runner: object, _field: object, address: str | None) -> None:
    if address is not None and not isinstance(address, str):
        raise TypeError(f"address is {address!r}, and has to be text, such as tcp://host:8786")
    if address is not None and address.startswith(("http://", "https://")):
        raise ValueError(
            f"{address!r} is the address of a page, such as a dashboard's, and not of a Dask "
            "scheduler: that begins with tcp:// or tls:// and has a port of its own, such as "
            "tcp://my-dask-cluster:8786"
        )


def _is_cluster(_runner: object, _field: object, cluster: object) -> None:
    if cluster is not None and not hasattr(cluster, "scheduler_address"):
        raise TypeError(
            f"cluster is {cluster!r}, which is no Dask cluster; for a class that makes "
            "one: cluster_class; for an address: address"
        )


def _is_time(_runner: object, _field: object, seconds: object) -> None:
    if not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        raise ValueError(f"start_timeout_seconds is {seconds!r}, and has to be a number above 0")


def _only_names(settings: Mapping[str, Any]) -> str:
    """What a repr shows of settings that may be secrets."""
    return f"{{{', '.join(f'{name!r}: ...' for name in settings)}}}"


class DaskTaskRunner(TaskRunner):
    """Runs each call on a Dask cluster: a new one on this machine, of another kind, or a given one.

    A cluster that the runner has started ends with the flow run; any other is left as it was.
    Values above 64 KiB stay with the workers. Dask computes nothing twice: a call whose worker is
    lost has crashed. Workers and scheduler need ``runnerstone-dask`` installed.

    Whoever can reach a Dask scheduler can have it run any code. A cluster on this machine listens
    to this machine alone.

    Attributes:
        address: Of a scheduler that runs already, such as ``tcp://host:8786``.
        cluster: A cluster that runs already, as its object.
        cluster_class: What makes a new cluster: a class, another callable, or its path. None is
            ``distributed.deploy.local.LocalCluster``.
        cluster_kwargs: What it is called with.
        adapt_kwargs: What the new cluster's ``adapt`` is called with; if empty, it is not.
        client_kwargs: Further arguments of Dask's client, such as ``security``.
        start_timeout_seconds: Longest wait for the scheduler to answer.
    """

    address: str | None = attrs.field(default=None, validator=_is_address)
    cluster: Any = attrs.field(default=None, validator=_is_cluster)
    cluster_class: str | Callable[..., Any] | None = None
    cluster_kwargs: Mapping[str, Any] = attrs.field(factory=dict, repr=_only_names)
    adapt_kwargs: Mapping[str, Any] = attrs.field(factory=dict, repr=_only_names)
    client_kwargs: Mapping[str, Any] = attrs.field(factory=dict, repr=_only_names)
    start_timeout_seconds: float = attrs.field(default=30.0, validator=_is_time)

    capabilities = Capabilities(distributed=True, gains_from_packing=True)

    def __attrs_post_init__(self) -> None:
        given = [
            name
            for name in ("address", "cluster", "cluster_class")
            if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given: each says what to run on; give one")
        for name in ("cluster_kwargs", "adapt_kwargs"):
            if getattr(self, name) and given and given[0] != "cluster_class":
                raise ValueError(f"{name} are for a new cluster, and {given[0]} is one that runs")

    def start(self) -> None:
        check_here()
        choice = ClusterChoice(
            address=self.address,
            cluster=self.cluster,
            cluster_class=self.cluster_class,
            cluster_kwargs=self.cluster_kwargs,
            adapt_kwargs=self.adapt_kwargs,
            client_kwargs=self.client_kwargs,
            timeout_seconds=self.start_timeout_seconds,
        )
        self._connection = Connection(choice)
        self._connection.open()
        client = self._connection.client
        if not self._connection.is_ours:
            check_there(client)
        self._topic = f"runnerstone-{client.id}"
        client.register_plugin(at_most_once(client.id, self._topic))
        self._pump = Pump(client, self._topic, self.capabilities.inline_limit)
        client.subscribe_topic(self._topic, self._pump.hear)

    def submit(self, call: TaskCall, report: Report) -> None:
        self._pump.put(Entry.of(call, report))

    def cancel(self, call: TaskCall) -> None:
        self._pump.forget(call)

    def slots(self) -> int | None:
        return self._pump.slots or None

    def fetch(self, references: Sequence[Reference]) -> list[Pickled]:
        try:
            values: list[Pickled] = self._connection.client.gather(
                [reference.handle for reference in references]
            )
        except Exception as error:
            raise ValueLostError(f"a value is gone from the Dask cluster: {error}") from error
        return values

    def stop(self) -> None:
        if hasattr(self, "_pump"):  # else starting got nowhere near
            self._pump.stop()
        if hasattr(self, "_connection"):
            self._connection.close()
