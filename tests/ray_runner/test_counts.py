"""What tasks send, held to the limits of the benchmarks."""

import pytest


@pytest.mark.timeout(120)
def test_what_tasks_send_keeps_within_its_counts(check_counts):
    check_counts("ray")
