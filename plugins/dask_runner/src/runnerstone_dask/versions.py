"""Whether what is installed, here and on the cluster, fits."""

from collections.abc import Callable
from importlib.metadata import requires, version
from typing import Any, Final

from packaging.requirements import Requirement

from runnerstone.errors import TaskRunnerStartError

OURS: Final = "runnerstone-dask"


def check_here() -> None:
    """Check that the installed Dask is one that this plugin was made for, by its own metadata.

    Raises:
        TaskRunnerStartError: If it is not; the text says which are.
    """
    (wanted,) = (
        requirement
        for requirement in map(Requirement, requires(OURS) or ())
        if requirement.name == "distributed"
    )
    found = version("distributed")
    if not wanted.specifier.contains(found, prereleases=True):
        raise TaskRunnerStartError(
            f"{OURS} {version(OURS)} works with {wanted}, and distributed {found} is installed; to "
            f"install one that fits: pip install '{wanted}'"
        )


def check_there(client: Any) -> None:
    """Check that scheduler and workers can run what is sent to them.

    Raises:
        TaskRunnerStartError: If one has no ``runnerstone-dask``, or another Python.
    """
    tell = _teller()
    places = {"the scheduler": client.run_on_scheduler(tell)}
    places |= {f"worker {address}": told for address, told in client.run(tell).items()}
    here = tell()
    for place, there in places.items():
        if there[OURS] is None:
            raise TaskRunnerStartError(
                f"{place} of the Dask cluster at {client.scheduler.address} has no {OURS}, which "
                f"all need; to install it there: pip install {OURS}=={here[OURS]}"
            )
        if there["Python"] != here["Python"]:
            raise TaskRunnerStartError(
                f"{place} runs Python {there['Python']} and this is Python {here['Python']}: "
                "functions can only travel between equal ones"
            )


def _teller() -> Callable[[], dict[str, str | None]]:
    """A function that travels by value, to where this module may be missing."""
    ours = OURS

    def tell() -> dict[str, str | None]:
        import sys
        from importlib.metadata import PackageNotFoundError, version

        try:
            plugin: str | None = version(ours)
        except PackageNotFoundError:
            plugin = None
        return {ours: plugin, "Python": f"{sys.version_info.major}.{sys.version_info.minor}"}

    return tell
