import ast
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import attrs
import pytest

from runnerstone import contracts
from runnerstone.options import FlowOptions, TaskOptions

ROOT = Path(__file__).parents[1]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
MANUAL = ROOT / "docs" / "flows-and-tasks.md"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "core" / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
LINK_TO_HEADING = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
MEMBER = re.compile(r"`([A-Z]\w*)\.(\w+)`")
OPTION = re.compile(r"^\| `(\w+)` \| `(.+?)` \| [^|]+ \|$", re.MULTILINE)
FILE_NAME = re.compile(r"# (\w+\.py)\n")
TIME = re.compile(r"^\d\d:\d\d:\d\d\.\d{3}", re.MULTILINE)
RUN_NAME = re.compile(r"(?<=low run )'[a-z]+-[a-z]+'")  # of flows and of subflows

USE_OF_A_RUNNER = """

from runnerstone import flow, task


@task
def double(number):
    return 2 * number


@flow(task_runner=PoolTaskRunner(max_workers=2))
def doubles():
    return [double(double(number)) for number in range(100)]


assert doubles() == [4 * number for number in range(100)]
"""


@attrs.frozen
class Block:
    """A fenced block of a page."""

    page: Path
    number: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.number}"

    @property
    def is_script(self):
        """Whether it is a complete script; else it is a fragment, which only has to compile."""
        return self.language == "python" and "import" in self.text

    @property
    def file_name(self):
        named = FILE_NAME.match(self.text)
        return named[1] if named else f"block_{self.number}.py"


def blocks_of(page):
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    return [Block(page, number, *parts) for number, parts in enumerate(found)]


BLOCKS = {page: blocks_of(page) for page in PAGES}
ALL_BLOCKS = [block for blocks in BLOCKS.values() for block in blocks]
SCRIPTS = [block for block in ALL_BLOCKS if block.is_script]
SHOWN = [
    (script, shown)
    for blocks in BLOCKS.values()
    for script, shown in pairwise(blocks)
    if script.is_script and shown.language == "text"
]
COMMANDS = [
    (block, line)
    for block in ALL_BLOCKS
    if block.language == "console"
    for line in block.text.splitlines()
    if line.startswith("runnerstone ")
]


@pytest.fixture
def run(tmp_path):
    """Runs Python in a folder with a page and its scripts; returns all that is printed."""

    def run_beside(page, *arguments):
        (tmp_path / page.name).write_bytes(page.read_bytes())
        for block in BLOCKS[page]:
            if block.is_script:
                (tmp_path / block.file_name).write_text(block.text, encoding="utf-8")
        finished = subprocess.run(
            [sys.executable, "-u", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout
        return finished.stdout

    return run_beside


def masked(output):
    return RUN_NAME.sub("'a-name'", TIME.sub("00:00:00.000", output))


def pattern_of(shown):
    """What is printed where `shown` is, with ``  ...`` in the place of a traceback's frames."""
    lines = masked(shown).splitlines(keepends=True)
    return "".join(r"(  .*\n)+" if line == "  ...\n" else re.escape(line) for line in lines)


def slug(heading):
    """What a link to a heading ends with."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def options_in_table(heading):
    """The options of a table of the manual, and their defaults as the table has them."""
    section = MANUAL.read_text(encoding="utf-8").partition(f"\n### {heading}\n")[2]
    table = re.match(r"\n(\|.*\n)+", section)
    return {name: ast.literal_eval(default) for name, default in OPTION.findall(table[0])}


def options_in_scripts(decorator):
    """The options that the manual's scripts give to a decorator."""
    calls = [
        node
        for script in SCRIPTS
        if script.page == MANUAL
        for node in ast.walk(ast.parse(script.text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    return {option.arg for call in calls if call.func.id == decorator for option in call.keywords}


def runner_of_the_manual():
    literal = contracts.__doc__.partition("threads of its own::\n")[2]
    return dedent(re.match(r"(\n|    .*\n)+", literal)[0]).strip() + "\n"


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_script_of_a_page_runs(script, run):
    run(script.page, script.file_name)


@pytest.mark.parametrize(
    "block", [block for block in ALL_BLOCKS if block.language == "python"], ids=str
)
def test_python_of_a_page_compiles(block):
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize(("script", "shown"), SHOWN, ids=str)
def test_script_prints_what_its_page_shows(script, shown, run):
    printed = masked(run(script.page, script.file_name))

    assert re.fullmatch(pattern_of(shown.text), printed), printed


@pytest.mark.parametrize(("block", "command"), COMMANDS, ids=str)
def test_command_of_a_page_completes(block, command, run):
    run(block.page, "-m", *shlex.split(command))


def test_readme_shows_what_its_first_script_prints():
    assert [str(script) for script, _ in SHOWN] == ["README.md:2"]


def test_readme_shows_the_runner_of_the_authors_manual():
    shown = [block.text.partition("\n")[2] for block in SCRIPTS if "class Pool" in block.text]

    assert shown == [runner_of_the_manual()]


def test_runner_of_the_authors_manual_runs_a_flow(tmp_path):
    script = tmp_path / "pool_runner.py"
    script.write_text(runner_of_the_manual() + USE_OF_A_RUNNER, encoding="utf-8")

    finished = subprocess.run([sys.executable, script], stderr=subprocess.PIPE, check=False)

    assert finished.returncode == 0, finished.stderr.decode()


def test_picture_of_the_layers_is_what_is_checked():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rules = settings["tool"]["importlinter"]["contracts"]
    layers = next(rule["layers"] for rule in rules if rule["type"] == "layers")

    [picture] = [block for block in BLOCKS[ARCHITECTURE] if block.language == "text"]

    shown = [re.split(r" {2,}", line.strip())[0] for line in picture.text.splitlines()]
    assert shown == [re.sub(r"[()]", "", layer) for layer in layers]


def test_members_that_the_architecture_names_are_in_their_classes():
    files = Path(contracts.__file__).parent.rglob("*.py")
    source = "\n".join(file.read_text(encoding="utf-8") for file in files)

    members = MEMBER.findall(ARCHITECTURE.read_text(encoding="utf-8"))

    assert len(members) > 10
    for owner, member in members:
        body = re.search(rf"^class {owner}\b.*?^(?=\S)", source, re.MULTILINE | re.DOTALL)
        assert body, owner
        assert re.search(rf"(def |self\.|^    ){member}\b", body[0], re.MULTILINE), (owner, member)


@pytest.mark.parametrize(
    ("heading", "options"), [("Of tasks", TaskOptions), ("Of flows", FlowOptions)]
)
def test_manual_has_a_table_of_all_options_with_their_defaults(heading, options):
    table = options_in_table(heading)

    assert sorted(table) == sorted(field.name for field in attrs.fields(options))
    for name, default in table.items():
        assert getattr(options(**{name: default}), name) == getattr(options(), name), name


@pytest.mark.parametrize(("decorator", "options"), [("task", TaskOptions), ("flow", FlowOptions)])
def test_manual_has_a_script_for_each_option(decorator, options):
    shown = options_in_scripts(decorator)

    assert [field.name for field in attrs.fields(options) if field.name not in shown] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_to_files(page):
    links = LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8")))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_to_headings(page):
    links = LINK_TO_HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8")))

    for file, anchor in links:
        target = page.parent / file if file else page
        headings = HEADING.findall(FENCED.sub("", target.read_text(encoding="utf-8")))
        assert anchor in {slug(heading) for heading in headings}, f"{file}#{anchor}"
