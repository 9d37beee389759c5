"""What Ray does to this process, and how it is undone."""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

# Ray ends a driver, without an exception, once it has missed the cluster's control process (GCS)
# for so many seconds; it is for us to notice, and to end the flow run.
GUARD: Final = {"RAY_gcs_rpc_server_reconnect_timeout_s": "1000000"}
# The longest path that Ray's sockets can have, on any system.
LONGEST_PATH: Final = 103
# What Ray adds to its folder's path.
SOCKET: Final = "/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
PREFIX: Final = "runnerstone-"


class Environment:
    """The variables that Ray and we set for a session, and nobody else, until they are restored."""

    def __init__(self) -> None:
        self._before: Final = dict(os.environ)
        self._changes: dict[str, str] = {}

    def set(self, variables: Mapping[str, str]) -> None:
        """Set variables that the user has not."""
        for name, value in variables.items():
            os.environ.setdefault(name, value)

    def note(self) -> None:
        """Note what has changed since the beginning; to be called when Ray has started, or not."""
        self._changes = {
            name: value
            for name, value in os.environ.items()
            if _is_rays(name) and self._before.get(name) != value
        }

    def restore(self) -> None:
        """Undo what was noted, but for what has been changed again since."""
        for name, value in self._changes.items():
            if os.environ.get(name) == value:
                if name in self._before:
                    os.environ[name] = self._before[name]
                else:
                    del os.environ[name]
        self._changes = {}


def import_ray() -> None:
    """Import Ray, and keep Python's own hook for uncaught exceptions.

    Ray's asks the cluster first, and waits for ever if that is gone.
    """
    hook = sys.excepthook
    import_module("ray")  # heavy, and needed only where a flow runs on Ray

    sys.excepthook = hook


def new_folder() -> str | None:
    """A folder for a cluster of our own; None where its path would be too long for sockets.

    In Ray's usual one, the files of ended sessions pile up, and ``ray.init()`` in other processes
    finds a cluster there that is not theirs, and uses it.
    """
    if "RAY_TMPDIR" in os.environ:
        return None
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108  # as Ray itself does; the folder's name is random
        folder = f"{parent}/{PREFIX}12345678"
        if len(folder.encode()) + len(SOCKET) <= LONGEST_PATH and Path(parent).is_dir():
            return tempfile.mkdtemp(prefix=PREFIX, dir=parent)
    return None


def remove_folder(folder: str) -> None:
    """Remove what `new_folder` made; what another process still holds there may stay."""
    shutil.rmtree(folder, ignore_errors=True)


def has_token() -> bool:
    """Whether there is a token for clusters that want one, where Ray looks for it."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return True
    try:
        return (Path.home() / ".ray" / "auth_token").is_file()
    except RuntimeError:  # no home
        return False


def _is_rays(name: str) -> bool:
    return name.startswith("RAY_") or name == "PYTHONBREAKPOINT"
