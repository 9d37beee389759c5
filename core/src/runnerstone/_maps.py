"""What `Task.map` does: one task run for each element of the arguments.

How a run is submitted is the caller's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from inspect import Parameter, Signature
from itertools import count, islice
from typing import Any, Final

from runnerstone.annotations import unmapped
from runnerstone.future_lists import TaskFutureList
from runnerstone.futures import TaskFuture

# Called with a run's arguments and the number of its element.
Submit = Callable[[tuple[Any, ...], dict[str, Any], int], TaskFuture[Any]]

_ONE_VALUE: Final = (str, bytes, bytearray)
_END: Final[Any] = object()


class MappedArguments:
    """The arguments of a map: sources, which give each run an element, and what all runs share."""

    def __init__(
        self,
        task_name: str,
        signature: Signature,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """Tell sources from the others; wait for those that are futures.

        Args:
            task_name: For messages.
            signature: The function's, also for messages.
            args: What is iterable is a source, but for strings, bytes and what is `unmapped`. A
                future is one if its value is, else it is passed as it is.
            kwargs: Likewise.

        Raises:
            TypeError: If one is a mapping, or none is iterable.
            ValueError: If their lengths differ, as far as they are known.
            BaseException: What `TaskFuture.result` raises.
        """
        self._task_name = task_name
        self._labels = [*_labels(signature, len(args)), *(f"argument {name!r}" for name in kwargs)]
        self._size = len(args)
        self._keywords = tuple(kwargs)
        self._shared = [*args, *kwargs.values()]
        self._sources: dict[int, Iterable[Any]] = {}  # by place
        for place, argument in enumerate(self._shared):
            if isinstance(argument, unmapped):
                self._shared[place] = argument.value
                continue
            value = argument.result() if isinstance(argument, TaskFuture) else argument
            if self._is_source(value, self._labels[place]):
                self._sources[place] = value
                self._shared[place] = None
        if not self._sources:
            raise TypeError(
                f"task {task_name!r} has nothing to be mapped over, as none of its arguments is "
                "iterable (strings and bytes count as single values): pass a list for one of "
                "them, or call submit() for a single run"
            )
        self._check_equal(self._lengths())

    def submit_all(self, submit: Submit) -> TaskFutureList[Any]:
        """Read the sources to their ends, then submit all runs.

        A source that has more elements than another is read no further: it may have no end.

        Raises:
            ValueError: If the sources are of different lengths; nothing is submitted then.
        """
        lengths: dict[int, int | str] = {**self._lengths()}
        least = min(self._lengths().values(), default=None)
        for place, source in self._sources.items():
            if place not in lengths:
                elements = list(islice(source, None if least is None else least + 1))
                is_longer = least is not None and len(elements) > least
                self._sources[place] = elements
                lengths[place] = f"more than {least}" if is_longer else len(elements)
                least = len(elements) if least is None else min(least, len(elements))
        self._check_equal(lengths)
        return TaskFutureList(self.submissions(submit))

    def submissions(self, submit: Submit) -> Iterator[TaskFuture[Any]]:
        """Submit one run for each element, each when it is asked for; give the futures.

        Raises:
            ValueError: If the sources turn out to be of different lengths.
        """
        parts = self._shared.copy()
        for index, row in enumerate(self._rows()):
            for place, element in zip(self._sources, row, strict=True):
                parts[place] = element
            args, named = parts[: self._size], parts[self._size :]
            yield submit(tuple(args), dict(zip(self._keywords, named, strict=True)), index)

    def _rows(self) -> Iterator[list[Any]]:
        iterators = {place: iter(source) for place, source in self._sources.items()}
        for number in count():
            row = [next(iterator, _END) for iterator in iterators.values()]
            ended = [element is _END for element in row]
            if any(ended):
                lengths = [number if it else f"more than {number}" for it in ended]
                self._check_equal(dict(zip(iterators, lengths, strict=True)))
                return
            yield row

    def _is_source(self, value: Any, label: str) -> bool:
        if isinstance(value, _ONE_VALUE):
            return False
        if isinstance(value, Mapping):
            raise TypeError(
                f"task {self._task_name!r} cannot be mapped over a mapping, which {label} is: pass "
                "unmapped(d) to give it to each run, or list(d) to map over its keys"
            )
        try:
            iter(value)
        except TypeError:
            return False
        return True

    def _lengths(self) -> dict[int, int]:
        """The lengths of the sources that tell theirs, by place."""
        sources = self._sources.items()
        return {place: len(source) for place, source in sources if isinstance(source, Sized)}

    def _check_equal(self, lengths: Mapping[int, int | str]) -> None:
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{self._labels[it]}: {lengths[it]}" for it in sorted(lengths))
            raise ValueError(
                f"task {self._task_name!r} is mapped over arguments of different lengths ({told}): "
                "make them equally long, or pass unmapped(...) for what each run shall get whole"
            )


def _labels(signature: Signature, count: int) -> list[str]:
    """How messages call positional arguments: by the parameter's name, or else by their number."""
    kinds = {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}
    parameters = signature.parameters.values()
    names = [f"argument {it.name!r}" for it in parameters if it.kind in kinds][:count]
    return names + [f"argument {number + 1}" for number in range(len(names), count)]
