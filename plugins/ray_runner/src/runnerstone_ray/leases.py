"""Who uses the connection to Ray, of which a process can have one.

Task runners with equal settings share it, and the last one ends it. Sessions are opened, counted
and closed on the shielded thread alone, one after another, so this needs no lock; and Ray's
processes end with the thread that started them, while that one stays.
"""

from typing import Final

from runnerstone.errors import TaskRunnerStartError
from runnerstone.shields import shielded
from runnerstone_ray.sessions import Session, SessionChoice

_current: Session | None = None
_users = 0


class Lease:
    """One task runner's use of the session, from `open` to `close`."""

    def __init__(self, choice: SessionChoice) -> None:
        self._choice: Final = choice
        self._session: Session | None = None  # also if Ctrl-C has ended the waiting for `open`

    def open(self) -> Session:
        """Join the session, or begin one.

        Raises:
            TaskRunnerStartError: If there is one with other settings, or Ray is not to be had.
        """
        return shielded(self._open)

    def _open(self) -> Session:
        global _current, _users  # noqa: PLW0603  # Ray's connection is the process's
        if _current is None:
            session = Session(self._choice)
            try:
                session.open()
            except BaseException:
                session.close()
                raise
            _current = session
        if _current.choice != self._choice:
            raise TaskRunnerStartError(
                "a process can use one Ray cluster at a time: a flow run in this process uses "
                f"{_current.choice}, and another asks for {self._choice}; give both the same "
                "settings, or run one after the other"
            )
        if _current.loss is not None:
            raise TaskRunnerStartError(_current.loss)
        _users += 1
        self._session = _current
        return _current

    def close(self) -> None:
        """Leave the session, and end it if nobody else uses it; harmless twice."""
        shielded(self._close)

    def _close(self) -> None:
        global _current, _users  # noqa: PLW0603  # as above
        session, self._session = self._session, None
        if session is None:
            return
        _users -= 1
        if not _users:
            _current = None
            session.close()
