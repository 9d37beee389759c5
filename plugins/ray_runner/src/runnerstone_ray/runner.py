"""The task runner."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from runnerstone.task_runners import (
    Capabilities,
    Pickled,
    Reference,
    Report,
    TaskCall,
    TaskRunner,
)
from runnerstone_ray.leases import Lease
from runnerstone_ray.sessions import SessionChoice, only_names
from runnerstone_ray.versions import check_version

if TYPE_CHECKING:
    from runnerstone_ray.pumps import Pump

# What has a setting of its own, or would share a session behind our back.
OURS: Final = {"address", "allow_multiple", "ignore_reinit_error", "local_mode"}


def _is_no_client(_runner: object, _field: object, address: str | None) -> None:
    if address is not None and not isinstance(address, str):
        raise TypeError(f"address is {address!r}, and has to be text, such as host:6379")
    if address is not None and "://" in address:
        raise ValueError(
            f"{address!r} is an address for Ray Client or of a page, which cannot run flows; give "
            "the cluster's own, such as my-ray-cluster:6379, from a machine that is part of it"
        )


def _is_ours_alone(_runner: object, _field: object, init_kwargs: Mapping[str, Any]) -> None:
    if taken := sorted(OURS & set(init_kwargs)):
        raise ValueError(
            f"init_kwargs has {', '.join(taken)}, which the task runner decides itself; for a "
            "cluster that runs already: address"
        )


class RayTaskRunner(TaskRunner):
    """Runs each call on a Ray cluster: a new one on this machine, or a given one.

    A cluster that the runner has started ends with the flow run; any other is left as it was. A
    process can use one at a time: flow runs with equal settings share it. If the process has called
    ``ray.init()`` before, and in a task of Ray's, that connection is used. Values above 64 KiB stay
    with the workers. Ray runs no call twice: one whose worker is lost has crashed. The cluster's
    machines need ``runnerstone-ray`` installed.

    Attributes:
        address: Of a cluster that runs already, such as ``host:6379``; ``auto`` takes the one that
            Ray finds, by the variable ``RAY_ADDRESS`` or on this machine. None starts one.
        init_kwargs: Further arguments of ``ray.init``.
        start_timeout_seconds: Longest wait for the cluster at `address` to answer.
    """

    address: str | None = attrs.field(default=None, validator=_is_no_client)
    init_kwargs: Mapping[str, Any] = attrs.field(
        factory=dict, validator=_is_ours_alone, repr=only_names
    )
    start_timeout_seconds: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))

    capabilities = Capabilities(
        distributed=True, cancels_queued=True, kills=True, gains_from_packing=True
    )

    def start(self) -> None:
        check_version()
        self._pump: Pump | None = None
        self._lease = Lease(
            SessionChoice(
                address=self.address,
                init_kwargs=self.init_kwargs,
                timeout_seconds=self.start_timeout_seconds,
            )
        )
        self._session = self._lease.open()
        self._pump = self._session.new_pump(self.capabilities.inline_limit)

    def submit(self, call: TaskCall, report: Report) -> None:
        if self._pump is None:
            raise RuntimeError("the task runner is not started")
        self._pump.put(call, report)

    def cancel(self, call: TaskCall) -> None:
        if self._pump is not None:
            self._pump.cancel(call)

    def slots(self) -> int | None:
        return self._session.cpus()

    def fetch(self, references: Sequence[Reference]) -> list[Pickled]:
        return self._session.fetch(references)

    def stop(self) -> None:
        if not hasattr(self, "_lease"):  # starting got nowhere
            return
        if self._pump is not None:
            self._pump.stop()
            self._session.remove(self._pump)
        self._lease.close()
