"""The ``runnerstone`` command.

Exit codes: 0 if the flow completed; 1 if it failed or was cancelled, or its file raised, each with
the traceback; 2 if the command was not used right, without one; 130 after Ctrl-C, or after SIGTERM
while the flow ran.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

import click
import cloudpickle

from runnerstone._discovery import distribution_version
from runnerstone._names import suggestion
from runnerstone._plugins import CORE, installed_task_runners, resolve_task_runner
from runnerstone._settings import parameters_from_text
from runnerstone.calls import run_coroutine
from runnerstone.errors import (
    FlowParameterError,
    TaskRunnerError,
    TaskRunnerNotInstalledError,
)
from runnerstone.flows import Flow
from runnerstone.runs import FlowRun

__all__ = ["main"]

INTERRUPTED = 130  # as shells report a program that SIGINT, number 2, ended: 128 + 2

EXAMPLES = """
\b
Examples:
  runnerstone run census.py
  runnerstone run census.py:census --param folder=/srv/data --param top=5
  runnerstone run census.py --runner concurrent --set max_workers=4
  runnerstone runners
"""


class _Command(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


def _show_version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:  # noqa: FBT001
    if asked:
        click.echo(f"{CORE} {distribution_version(CORE)}")
        ctx.exit()


def _by_name(ctx: click.Context, option: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    """What ``name=value`` arguments say; a value may be empty, and have further ``=`` in it."""
    by_name: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{text!r} is not of the form name=value", ctx, option)
        if name in by_name:
            raise click.BadParameter(f"{name!r} is given twice", ctx, option)
        by_name[name] = value
    return by_name


@click.group(cls=_Command, epilog=EXAMPLES)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Run flows of tasks, each on the task runner of your choice."""


@main.command(epilog=EXAMPLES)
@click.argument("target", metavar="FILE.py[:FLOW]")
@click.option(
    "--runner",
    metavar="NAME",
    help="Task runner to use instead of the flow's own: a name that `runnerstone runners` lists, "
    "or package.module:Class. Subflows keep theirs.",
)
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_by_name,
    help="A setting of the task runner; may be given several times.",
)
@click.option(
    "--param",
    "parameters",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_by_name,
    help="A parameter of the flow; may be given several times. The flow's annotations say what "
    "the text becomes; lists and tables are written in JSON.",
)
@click.pass_context
def run(
    ctx: click.Context,
    target: str,
    runner: str | None,
    settings: Mapping[str, str],
    parameters: Mapping[str, str],
) -> None:
    """Run a flow that a file defines.

    FLOW names it, and is needed only where the file defines several.

    Ctrl-C lets the tasks that run come to their end, and starts no others; a second one waits for
    nothing more. SIGTERM does what Ctrl-C does.

    The exit code is 0 if the flow completed, 1 if it failed, 2 if it could not be started as asked,
    and 130 if Ctrl-C or SIGTERM ended it.
    """
    path, name = _split(target)
    flow = _flow_of(_load(ctx, path), path, name)
    with _usage_errors():
        if runner is not None or settings:
            choice = flow.task_runner if runner is None else runner
            flow = flow.with_options(task_runner=resolve_task_runner(choice, settings))
        flow_run = _run(flow, parameters_from_text(flow.fn, parameters))
    if flow_run.error is not None:
        _fail(ctx, flow_run.error)
    sys.stdout.flush()


@main.command()
def runners() -> None:
    """List the installed task runners.

    One line each: name, distribution and version, summary. Plugins that fail come last, with why.
    """
    installed = installed_task_runners()
    rows = [
        (found.name, f"{found.distribution} {found.version}", found.spec.summary)
        for found in installed
        if found.spec is not None
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())
    for found in installed:
        if found.error is not None:
            click.echo(f"{found.name} cannot be used: {found.error}")
    sys.stdout.flush()


def _split(target: str) -> tuple[Path, str | None]:
    file, colon, name = target.rpartition(":")
    if not colon or name.endswith(".py"):  # the colon of a drive or a folder
        return Path(target), None
    return Path(file), name


def _load(ctx: click.Context, path: Path) -> ModuleType:
    """Import the file under its own name, with its folder first on ``sys.path``.

    Workers do not have it, so what it defines travels by value.
    """
    if path.suffix != ".py" or not path.is_file():
        raise click.UsageError(f"there is no Python file {str(path)!r}")
    path = path.resolve()
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) != str(path):
        raise click.UsageError(
            f"{path.name} has the name of a module that is in use, {known!r}: rename the file"
        )
    loader = SourceFileLoader(path.stem, str(path))
    spec = ModuleSpec(path.stem, loader, origin=str(path))
    spec.has_location = True
    module = sys.modules[path.stem] = module_from_spec(spec)
    cloudpickle.register_pickle_by_value(module)
    sys.path.insert(0, str(path.parent))
    try:
        loader.exec_module(module)
    except TaskRunnerNotInstalledError as error:
        raise click.UsageError(str(error)) from error
    except Exception as error:  # noqa: BLE001  # the user's file may raise anything
        while error.__traceback__ and error.__traceback__.tb_frame.f_globals is not vars(module):
            error.__traceback__ = error.__traceback__.tb_next  # how we and importlib got there
        _fail(ctx, error)
    return module


def _flow_of(module: ModuleType, path: Path, name: str | None) -> Flow[..., Any]:
    flows = {name: value for name, value in vars(module).items() if isinstance(value, Flow)}
    own = [name for name, flow in flows.items() if flow.fn.__module__ == module.__name__]
    listing = f"its flows: {', '.join(own) or 'none'}"
    if name is None:
        distinct = {id(flows[name]): flows[name] for name in own}
        if len(distinct) == 1:
            return distinct.popitem()[1]
        if own:
            raise click.UsageError(
                f"{path} defines several flows, so name one, as in {path}:{own[0]}; {listing}"
            )
        raise click.UsageError(f"{path} defines no flow: decorate a function with @flow")
    if name in flows:
        return flows[name]
    if name in vars(module):
        kind = type(vars(module)[name]).__name__
        raise click.UsageError(f"{name!r} in {path} is of type {kind}, and no flow; {listing}")
    raise click.UsageError(f"{path} has no flow {name!r}{suggestion(name, own, listing)}")


def _run(flow: Flow[..., Any], parameters: Mapping[str, Any]) -> FlowRun[Any]:
    with _sigterm_as_ctrl_c():
        flow_run: Any = flow.run(**parameters)
        finished: FlowRun[Any] = run_coroutine(flow_run) if flow.is_async else flow_run
    return finished


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Have SIGTERM do what Ctrl-C does, be that the engine's choice, asyncio's or the user's.

    Only in the main thread, which alone may, and only where nobody has another use for SIGTERM.
    """
    pid = os.getpid()

    def handle(signum: int, _frame: FrameType | None) -> None:
        # Who ignores Ctrl-C, as a shell's background jobs do, and who was forked, ends as ever.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN or os.getpid() != pid:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        signal.raise_signal(signal.SIGINT)

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is handle:  # unless the flow's body chose another
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Show what is wrong with a task runner or a parameter as a fault of the command's use."""
    try:
        yield
    except (TaskRunnerError, FlowParameterError) as error:
        raise click.UsageError(str(error)) from error


def _fail(ctx: click.Context, error: BaseException) -> NoReturn:
    if isinstance(error, BrokenPipeError) and _reader_left():
        raise error  # click ends quietly
    sys.excepthook(type(error), error, error.__traceback__)
    sys.stdout.flush()
    ctx.exit(1)


def _reader_left() -> bool:
    """Whether nobody reads our output any more; false where that cannot be told, as on Windows."""
    if not hasattr(select, "poll"):
        return False
    output = select.poll()
    output.register(sys.stdout)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0))
