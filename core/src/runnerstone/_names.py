"""Names that users type: how they are compared, and which one was meant."""

import re
from collections.abc import Iterable


def normal_runner_name(name: str) -> str:
    """The one spelling of a task runner's name: ``Big_Pool`` and ``big-pool`` are the same."""
    return name.strip().casefold().replace("_", "-")


def normal_distribution_name(name: str) -> str:
    """The one spelling of a distribution's name, by the packaging specification on names."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def suggestion(name: str, known: Iterable[str], listing: str) -> str:
    """The end of a message about a name that is not known: what resembles it, then the listing."""
    from difflib import get_close_matches  # slow to load, and needed by refusals only

    nearest = get_close_matches(name, sorted(set(known)), n=3)
    return (
        f"; did you mean {' or '.join(map(repr, nearest))}? {listing}"
        if nearest
        else f"; {listing}"
    )
