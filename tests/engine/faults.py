"""Where the library is known to differ from the model; each has a test of its own that fails."""

from collections.abc import Iterator, Mapping

from runnerstone import State
from tests.engine.graphs import FlowNode, Ref, StateOf, leaves
from tests.engine.models import End, Model


def flow_nodes(node: FlowNode) -> Iterator[FlowNode]:
    """A flow run of a plan and all in it."""
    yield node
    for inner in node.nodes:
        if isinstance(inner, FlowNode):
            yield from flow_nodes(inner)


def are_avoided(plan: FlowNode) -> bool:
    """Whether a plan comes across none of them."""
    ends = Model(plan).ends
    nodes = [node for node in flow_nodes(plan) if node.number in ends]
    return not any(
        is_behind_a_skipped_run(node, ends)
        or returns_states(node)
        or returns_a_run_held_up_from_elsewhere(node, ends)
        for node in nodes
    )


def is_behind_a_skipped_run(node: FlowNode, ends: Mapping[int, End]) -> bool:
    """Whether a flow is given a run that is skipped."""
    return any(ends[it.number].root for it in leaves(node.argument) if isinstance(it, Ref))


def returns_states(node: FlowNode) -> bool:
    """Whether a flow returns several states."""
    return sum(isinstance(leaf, (State, StateOf)) for leaf in leaves(node.returned)) > 1


def returns_a_run_held_up_from_elsewhere(node: FlowNode, ends: Mapping[int, End]) -> bool:
    """Whether a flow returns a run that is skipped because of another flow run's."""
    own = [ends[inner.number] for inner in node.nodes if inner.number in ends]
    returned = [
        ends[it.number] for it in leaves(node.returned) if isinstance(it, Ref) and it.number in ends
    ]
    return any(end.root and not any(end.root is it for it in own) for end in returned)
