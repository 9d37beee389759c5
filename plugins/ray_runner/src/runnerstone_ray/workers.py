"""What a worker of Ray does with a call, and how it gets to know the call's program."""

import pickle
from collections.abc import Callable
from typing import Any, Final

from runnerstone.programs import Program
from runnerstone.task_runners import Outcome, Pickled, run_parcel

# Remote functions that the driver keeps; Ray exports one again if it comes back.
FUNCTIONS_KEPT: Final = 256


def execute(
    program: Program, limit: int, contents: bytes | Pickled, *kept: Pickled
) -> tuple[bytes, Pickled | None]:
    """Execute a call; return what `outcome_of` takes, and the value if it stays on the cluster.

    Args:
        program: The call's.
        limit: Size up to which a value goes to the driver with the outcome, in bytes.
        contents: What `contents_to_send` gave.
        kept: The values that Ray has put in place of the parcel's references.
    """
    if not isinstance(contents, Pickled):
        contents = Pickled(contents)
    outcome = run_parcel(program, contents, *kept)
    sent, value = outcome.parted(limit)
    # As bytes, which Ray passes on as they are: its own pickling costs more.
    return pickle.dumps((sent, None if value is None else value.nbytes), protocol=5), value


def contents_to_send(contents: Pickled) -> bytes | memoryview | Pickled:
    """A parcel's contents as Ray is given them: as bytes if they can be, see `execute`."""
    return contents if contents.buffers else contents.head


def outcome_of(sent: bytes) -> tuple[Outcome, int | None]:
    """The outcome that a worker has sent, and its value's size if the value is not in it."""
    outcome, nbytes = pickle.loads(sent)
    return outcome, nbytes


def remote_function(program: Program, limit: int, cpus: int) -> Any:
    """Ray's function that executes the calls of a program.

    The program is in it, so Ray brings it to each worker once. Calls of one function are cheap, and
    Ray sends each new function to the whole cluster.

    Args:
        program: The calls'.
        limit: Size up to which a value goes to the driver with the outcome, in bytes.
        cpus: How many CPUs a call takes.
    """
    known = program.digest, limit, cpus
    function = _functions.get(known)
    if function is None:
        # A copy, since the driver's refers to the user's own function, and what hangs on that.
        function = _functions.setdefault(known, _made(program.bare(), limit, cpus))
        for oldest in list(_functions)[:-FUNCTIONS_KEPT]:
            _functions.pop(oldest, None)
    return function


_functions: dict[tuple[bytes, int, int], Any] = {}


def _made(program: Program, limit: int, cpus: int) -> Any:
    import ray  # heavy, and needed only where a flow runs on Ray

    # Retries are the engine's, which counts them. Task events feed Ray's dashboard, and cost much.
    remote: Any = ray.remote  # its types do not know all options
    options = {"num_returns": 2, "max_retries": 0, "enable_task_events": False, "num_cpus": cpus}
    return remote(**options)(_closure(program, limit))


def _closure(program: Program, limit: int) -> Callable[..., tuple[bytes, Pickled | None]]:
    def call(contents: bytes | Pickled, *kept: Pickled) -> tuple[bytes, Pickled | None]:
        return execute(program, limit, contents, *kept)

    call.__name__ = call.__qualname__ = program.task_name  # which names the worker's process
    return call
