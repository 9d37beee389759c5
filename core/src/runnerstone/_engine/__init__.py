"""One flow run: its lifecycle, its task runs and their graph, its final state."""

from runnerstone._engine.flow_runs import FlowCall, flow_run_steps
from runnerstone._engine.steps import run_steps, run_steps_async

__all__ = ["FlowCall", "flow_run_steps", "run_steps", "run_steps_async"]
