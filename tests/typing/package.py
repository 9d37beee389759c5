"""The package is found by a type checker, with its types."""

from typing import assert_type

import runnerstone

assert_type(runnerstone.__name__, str)
