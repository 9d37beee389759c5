"""Names for runs, made of the arguments."""

import inspect
import re
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any

from runnerstone._names import suggestion


def check_template(template: object, signature: inspect.Signature, owner: str) -> None:
    """Check that a template's fields are parameters; of something else nothing is known yet.

    Args:
        owner: What the message calls whose name it is to be.

    Raises:
        ValueError: If a field is no parameter, or the braces do not match.
    """
    if not isinstance(template, str):
        return
    parameters = signature.parameters
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise ValueError(f"{owner} has the run name {template!r}: {error}") from None
    if any(it.kind is it.VAR_KEYWORD for it in parameters.values()):
        return
    for field in fields:
        name = re.split(r"[.\[]", field)[0]
        if name not in parameters:
            listing = f"its parameters: {', '.join(parameters) or 'none'}"
            raise ValueError(
                f"{owner} has the run name {template!r}, and no parameter {name!r}"
                + suggestion(name, parameters, listing)
            )


def run_name(
    naming: str | Callable[[Mapping[str, Any]], str], arguments: Mapping[str, Any], owner: str
) -> str:
    """A run's name, in one line.

    Args:
        naming: A template, or what is given the arguments.
        arguments: By name.
        owner: What the message calls whose name it is.

    Raises:
        ValueError: If no name comes of it.
    """
    try:
        name: Any = naming.format_map(arguments) if isinstance(naming, str) else naming(arguments)
    except Exception as error:
        raise ValueError(
            f"{owner}: a run cannot be named by {naming!r}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{owner}: {naming!r} names a run {name!r}, which is no name")
    return " ".join(name.split())
