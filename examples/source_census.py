"""Take a census of a folder of Python: its largest modules, longest functions, favourite imports.

    runnerstone run examples/source_census.py  # the standard library
    runnerstone run examples/source_census.py --runner sequential  # the same, byte for byte
    runnerstone run examples/source_census.py --param folder=src --param top=5

Every file is parsed by a task run of its own, on any machine that sees the folder; a tree of
``merge`` runs then adds the tallies up until one is left.
"""

import ast
import sysconfig
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from pathlib import Path

import attrs

from runnerstone import flow, task

STDLIB = Path(sysconfig.get_path("stdlib"))
INSTALLED = {"site-packages", "dist-packages"}
FAN_IN = 64  # tallies that one run of merge adds up
PARSED = "<census>"  # what the parser is told that the file is called


@attrs.frozen
class Entry:
    """A line of a ranking: how large, and what."""

    size: int
    name: str


@attrs.frozen(kw_only=True)
class Tally:
    """What was counted in one file or in many; `files` includes those that did not parse."""

    files: int = 0
    lines: int = 0
    functions: int = 0
    classes: int = 0
    imports: Counter[str] = attrs.field(factory=Counter)
    largest_modules: tuple[Entry, ...] = ()
    longest_functions: tuple[Entry, ...] = ()
    unparsed: tuple[str, ...] = ()


@task
def parse(folder: Path, file: str, top: int) -> Tally:
    """Count one file; one that does not parse gives a tally that says why, not a failed run."""
    silence_parser()
    try:
        source = (folder / file).read_bytes()  # bytes, as for an import: the parser decodes them
        tree = ast.parse(source, PARSED)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Tally(files=1, unparsed=(complaint(file, error),))

    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    lines = len(source.splitlines())
    functions: list[Entry] = []
    classes = 0
    imports: Counter[str] = Counter()
    for node, scope in statements(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                functions.append(Entry(size, f"{module}:{scope}{node.name}"))
            case ast.ClassDef():
                classes += 1
            case ast.Import():
                imports.update(alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom(module=str(name), level=0):  # a relative import stays at home
                imports[name.partition(".")[0]] += 1
    return Tally(
        files=1,
        lines=lines,
        functions=len(functions),
        classes=classes,
        imports=imports,
        largest_modules=ranked([Entry(lines, module)], top),
        longest_functions=ranked(functions, top),
    )


@task
def merge(parts: Sequence[Tally], top: int) -> Tally:
    """Add tallies up; the sum is the same in any order and any grouping."""
    return Tally(
        files=sum(part.files for part in parts),
        lines=sum(part.lines for part in parts),
        functions=sum(part.functions for part in parts),
        classes=sum(part.classes for part in parts),
        imports=sum((part.imports for part in parts), Counter()),
        largest_modules=ranked((each for part in parts for each in part.largest_modules), top),
        longest_functions=ranked((each for part in parts for each in part.longest_functions), top),
        unparsed=tuple(sorted(line for part in parts for line in part.unparsed)),
    )


@flow
def census(folder: Path = STDLIB, top: int = 10) -> None:
    """Print the census of a folder, with the `top` entries of every ranking."""
    if not folder.is_dir():
        raise NotADirectoryError(f"no folder {str(folder)!r}; name one: --param folder=PATH")
    folder = folder.resolve()  # a worker may have another working directory
    tallies = [parse(folder, file, top) for file in python_files(folder)]
    while len(tallies) > FAN_IN:
        tallies = [merge(tallies[n : n + FAN_IN], top) for n in range(0, len(tallies), FAN_IN)]
    print(table(merge.submit(tallies, top).result(), top))


def silence_parser() -> None:
    """Ignore what the parser warns of, in this process, whatever ``-W`` says, and nothing else.

    `warnings.catch_warnings` would not do: what it puts back, it puts back under all threads.
    """
    if PARSED not in str(warnings.filters):
        warnings.filterwarnings("ignore", module=PARSED)


def python_files(folder: Path) -> list[str]:
    """The paths, from the folder, of the Python files in it, without what was installed there."""
    paths = (path.relative_to(folder) for path in folder.rglob("*.py") if path.is_file())
    return sorted(path.as_posix() for path in paths if INSTALLED.isdisjoint(path.parts))


def statements(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every statement, and what qualifies the names defined there: ``Class.method.<locals>.``."""
    found: list[tuple[ast.AST, str]] = [(tree, "")]
    while found:
        node, scope = found.pop()
        yield node, scope
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                scope += f"{node.name}.<locals>."
            case ast.ClassDef():
                scope += f"{node.name}."
        children = ast.iter_child_nodes(node)
        found.extend((child, scope) for child in children if not isinstance(child, ast.expr))


def complaint(file: str, error: Exception) -> str:
    """Where and why a file did not parse, as compilers say it."""
    line = getattr(error, "lineno", None)  # None or 0 if the fault is the whole file's
    why = getattr(error, "msg", None) or str(error) or type(error).__name__
    return f"{file}:{line}: {why}" if line else f"{file}: {why}"


def ranked(entries: Iterable[Entry], top: int) -> tuple[Entry, ...]:
    """The `top` largest entries, those of equal size by name."""
    return tuple(nsmallest(top, entries, key=lambda entry: (-entry.size, entry.name)))


def table(tally: Tally, top: int) -> str:
    """The census as text of up to 100 columns; a section without lines is left out."""
    totals = [
        Entry(tally.files, "files"),
        Entry(len(tally.unparsed), "of them did not parse"),
        Entry(tally.lines, "lines"),
        Entry(tally.functions, "functions and methods"),
        Entry(tally.classes, "classes"),
    ]
    imports = ranked((Entry(count, name) for name, count in tally.imports.items()), top)
    sections = {
        "Largest modules, in lines": rows(tally.largest_modules),
        "Longest functions, in lines": rows(tally.longest_functions),
        "Most imported modules, in import statements": rows(imports),
        "Totals": rows(totals),
        "Did not parse": [f"  {line}" for line in tally.unparsed],
    }
    return "\n\n".join(
        "\n".join([title, *map(fit, lines)]) for title, lines in sections.items() if lines
    )


def rows(entries: Iterable[Entry]) -> list[str]:
    return [f"{entry.size:>11,}  {entry.name}" for entry in entries]


def fit(line: str) -> str:
    return textwrap.fill(line, width=100, subsequent_indent=" " * 13)


if __name__ == "__main__":
    census()
