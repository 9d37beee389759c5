"""Connecting to a Ray cluster that runs already, or learning in time that it does not."""

import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from runnerstone.errors import TaskRunnerStartError

RETRY_SECONDS: Final = 0.2
ADVICE: Final = (
    "a cluster that wants a token takes its own alone, from ~/.ray/auth_token, "
    "RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN of this process"
)


def attach(address: str, options: Mapping[str, Any], timeout_seconds: float) -> None:
    """Connect this process to the cluster at `address`.

    Args:
        address: As Ray takes it: ``host:port``, or ``auto``, which finds one by itself.
        options: Of ``ray.init``.
        timeout_seconds: Longest wait for it.

    Raises:
        TaskRunnerStartError: If there is none, it does not answer in time, or it refuses.
    """
    deadline = time.monotonic() + timeout_seconds
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        _wait_for_listener(host.strip("[]"), int(port), deadline, timeout_seconds)
    attempt = _Attempt(address, options)
    if not attempt.ended(max(deadline - time.monotonic(), 0)):
        raise TaskRunnerStartError(
            f"what listens at {address} has not let this driver in within {timeout_seconds} s: it "
            f"is no Ray cluster, or does not answer, or {ADVICE}; to wait longer: "
            "start_timeout_seconds"
        )
    if attempt.error is not None:
        raise TaskRunnerStartError(
            f"the Ray cluster at {address} could not be attached to: "
            f"{str(attempt.error) or type(attempt.error).__name__}; its version has to be the one "
            f"installed here, and {ADVICE}"
        ) from attempt.error


def _wait_for_listener(host: str, port: int, deadline: float, timeout_seconds: float) -> None:
    """Wait until something listens: Ray itself would take its time, and may end the process."""
    import socket  # slow, and needed only here

    while True:
        left = deadline - time.monotonic()
        try:
            socket.create_connection((host, port), max(left, RETRY_SECONDS)).close()
        except OSError as error:
            if left <= RETRY_SECONDS:
                raise TaskRunnerStartError(
                    f"no Ray cluster answers at {host}:{port} within {timeout_seconds} s: {error}; "
                    "is it running, for example by `ray start --head`, and is this its address, "
                    "whose port is 6379 by default, and not its dashboard's? to wait longer: "
                    "start_timeout_seconds"
                ) from error
            time.sleep(RETRY_SECONDS)
        else:
            return


class _Attempt:
    """One call of ``ray.init``, which nothing can interrupt, in a thread of its own.

    If it is given up and succeeds in the end, the connection is closed at once.
    """

    def __init__(self, address: str, options: Mapping[str, Any]) -> None:
        self._address = address
        self._options = options
        self.error: BaseException | None = None
        self._lock = threading.Lock()  # guards whether it is over or given up, whichever is first
        self._over = False
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name="RayAttempt", daemon=True)
        self._thread.start()

    def ended(self, patience_seconds: float) -> bool:
        """Wait; return whether it is over, and give it up if not."""
        self._thread.join(patience_seconds)
        with self._lock:
            self._given_up = not self._over
            return self._over

    def _run(self) -> None:
        import ray  # loaded by now

        try:
            ray.init(self._address, **self._options)
        except BaseException as error:  # noqa: BLE001  # raised where it is waited for
            self.error = error
        with self._lock:
            self._over = not self._given_up
        # Of a failure, as long as it is waited for: later, the session may be somebody else's.
        if self._over == (self.error is not None):
            ray.shutdown()
