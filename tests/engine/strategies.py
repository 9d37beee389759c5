"""Plans at random, for hypothesis."""

import os
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, TypeVar, get_args

import attrs
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from runnerstone import Cancelled, Completed, Crashed, Failed, TimedOut
from tests.engine.graphs import (
    Allowed,
    Box,
    BrokenError,
    EndKind,
    FailureKind,
    FlowNode,
    Given,
    Plan,
    Quoted,
    Raising,
    Ref,
    StateOf,
    TaskNode,
)

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[T]], T]

DEEPEST = 3  # level of a tree, and of flows in flows

LEAVES = st.sampled_from([0, "text", None, True, Quoted([1, {"a": (2,)}]), Quoted("text"), Given()])
STATES = st.sampled_from(
    [
        Completed(),
        Completed("done", result=5),
        Failed("by hand"),
        Failed(),
        Failed("told", result=BrokenError("told")),
        TimedOut("late"),
        Cancelled("not wanted"),
        Crashed("lost"),
    ]
)
PLANS = st.builds(
    Plan,
    number=st.just(0),
    failures=st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1, 2, 3]),
    failure=st.sampled_from(get_args(FailureKind)),
    end=st.sampled_from(["value"] * 12 + list(get_args(EndKind))),
    message=st.sampled_from([None, "so it is"]),
    is_large=st.sampled_from([False] * 9 + [True]),
)
SHAPES = st.sampled_from(["leaf"] * 4 + ["list", "list", "tuple", "dict", "box"])
ENDINGS = st.sampled_from(
    ["none"] * 4 + ["futures"] * 5 + ["states"] * 2 + ["plain", "state", "raise"]
)
RUNNERS = st.integers(0, 9)
FEW = st.integers(0, 3)
SOME = st.integers(1, 4)
YES_OR_NO = st.booleans()


def searching(examples: int) -> settings:
    """Settings for a test that is given plans: the same ones each time, unless asked for others."""
    asked = os.environ.get("RUNNERSTONE_TEST_PLANS")
    return settings(
        max_examples=int(asked or examples),
        derandomize=asked is None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        print_blob=True,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )


def plans_of_flows(least_nodes: int, most_nodes: int) -> st.SearchStrategy[FlowNode]:
    """Root flows with so many task runs and subflow runs in all."""
    sizes = st.integers(least_nodes, most_nodes)
    return st.composite(lambda draw: _Drawing(draw, draw(sizes)).flow((), 0))()


class _Drawing:
    """One root flow, as it is drawn."""

    def __init__(self, draw: Draw[Any], nodes: int) -> None:
        self._draw = draw
        self._numbers = count()
        self._nodes_left = nodes

    def flow(self, outer: Sequence[int], depth: int) -> FlowNode:
        """A flow run.

        Args:
            outer: Numbers of the task runs around, whose futures its body may use, too.
            depth: How many flow runs there are around.
        """
        number = next(self._numbers)
        argument = self._tree(self._leaves(outer)) if depth else None
        nodes: list[TaskNode | FlowNode] = []
        own: list[int] = []
        most = self._nodes_left if depth == 0 else self._draw(SOME)
        while len(nodes) < most and self._nodes_left > 0:
            self._nodes_left -= 1
            if depth < DEEPEST and self._draw(FEW) == 3:
                nodes.append(self.flow((*outer, *own), depth + 1))
            else:
                nodes.append(self._task((*outer, *own)))
                own.append(nodes[-1].number)
        return FlowNode(
            number=number,
            argument=argument,
            nodes=tuple(nodes),
            returned=self._returned(own, outer, nodes),
            runner=self._draw(RUNNERS) if depth else 0,
            is_called=depth > 0 and self._draw(FEW) == 3,
        )

    def _task(self, upstream: Sequence[int]) -> TaskNode:
        leaves = self._leaves(upstream)
        return TaskNode(
            plan=attrs.evolve(self._draw(PLANS), number=next(self._numbers)),
            is_async=self._draw(FEW) == 3,
            retries=self._draw(FEW),
            argument=self._tree(leaves),
            keyword=self._tree(leaves) if self._draw(YES_OR_NO) else None,
            wait_for=self._wait_for(upstream),
        )

    def _wait_for(self, upstream: Sequence[int]) -> tuple[Ref | Allowed, ...]:
        if not upstream or self._draw(FEW):
            return ()
        refs = st.builds(self._draw(st.sampled_from([Ref, Allowed])), st.sampled_from(upstream))
        return tuple(self._draw(refs) for _ in range(1 + self._draw(FEW)))

    def _leaves(self, upstream: Sequence[int]) -> Any:
        if not upstream:
            return LEAVES
        numbers = st.sampled_from(upstream)
        return LEAVES | st.builds(Ref, numbers) | st.builds(Allowed, numbers)

    def _returned(self, own: Sequence[int], outer: Sequence[int], nodes: Sequence[Any]) -> Any:
        kind = self._draw(ENDINGS)
        if kind == "none":
            return None
        if kind == "raise":
            return Raising("in the body")
        if kind == "state":
            return self._draw(STATES)
        if kind == "futures" and outer and self._draw(FEW) == 0:
            return Ref(self._draw(st.sampled_from(outer)))
        leaves = st.sampled_from([0, "text", Given()])
        if kind == "states":
            subflows = [it.number for it in nodes if isinstance(it, FlowNode)]
            leaves |= st.builds(StateOf, st.sampled_from(subflows)) if subflows else STATES
        if kind != "plain" and own:
            leaves = st.builds(Ref, st.sampled_from(own)) | leaves
        return [self._tree(leaves) for _ in range(self._draw(SOME))]

    def _tree(self, leaves: Any, depth: int = 0) -> Any:
        shape = "leaf" if depth == DEEPEST else self._draw(SHAPES)
        if shape == "leaf":
            return self._draw(leaves)
        if shape == "box":
            return Box(self._tree(leaves, depth + 1))
        items = [self._tree(leaves, depth + 1) for _ in range(self._draw(FEW))]
        if shape == "dict":
            keys = [it if isinstance(it, Ref) else place for place, it in enumerate(items)]
            return dict(zip(keys, items, strict=True))
        return tuple(items) if shape == "tuple" else items
