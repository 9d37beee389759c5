"""The pages of the plugins: what they show runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = sorted(Path(__file__).parents[2].glob("plugins/*/README.md"))
SCRIPT = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_script_of_a_page_runs(page, tmp_path):
    scripts = SCRIPT.findall(page.read_text(encoding="utf-8"))
    assert scripts

    for number, script in enumerate(scripts):
        file = tmp_path / f"script_{number}.py"
        file.write_text(script, encoding="utf-8")
        finished = subprocess.run(
            [sys.executable, file], capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, finished.stderr
