"""Which Ray the plugin works with."""

from importlib.metadata import requires, version
from typing import Final

from runnerstone.errors import TaskRunnerStartError

OURS: Final = "runnerstone-ray"


def check_version(found: str | None = None) -> None:
    """Check that the installed Ray is one that this plugin was made for, by its own metadata.

    A cluster's Ray is compared with the installed one by Ray itself, when it is attached to.

    Args:
        found: The version to check; None finds out the installed one, without importing it.

    Raises:
        TaskRunnerStartError: If it does not fit; the text says which do.
    """
    from packaging.requirements import Requirement  # slow, and needed only where a flow runs on Ray

    found = version("ray") if found is None else found
    (wanted,) = (
        requirement
        for requirement in map(Requirement, requires(OURS) or ())
        if requirement.name == "ray"
    )
    if not wanted.specifier.contains(found, prereleases=True):
        raise TaskRunnerStartError(
            f"{OURS} {version(OURS)} works with {wanted}, and ray {found} is installed; to install "
            f"one that fits: pip install '{wanted}'"
        )
