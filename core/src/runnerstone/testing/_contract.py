"""The suite that authors of task runners inherit."""

from runnerstone.testing._cancellations import CancellationTests
from runnerstone.testing._crashes import CrashTests
from runnerstone.testing._deadlines import DeadlineTests
from runnerstone.testing._endings import EndingTests
from runnerstone.testing._exceptions import ExceptionTests
from runnerstone.testing._flow_runs import FlowRunTests
from runnerstone.testing._lifecycles import LifecycleTests
from runnerstone.testing._marks import MarkTests
from runnerstone.testing._options import OptionTests
from runnerstone.testing._orders import OrderTests
from runnerstone.testing._outcomes import OutcomeTests
from runnerstone.testing._packs import PackTests
from runnerstone.testing._reports import ReportTests
from runnerstone.testing._upstreams import UpstreamTests
from runnerstone.testing._values import ValueTests


class TaskRunnerContract(
    LifecycleTests,
    ReportTests,
    OutcomeTests,
    CancellationTests,
    OrderTests,
    ValueTests,
    UpstreamTests,
    MarkTests,
    OptionTests,
    DeadlineTests,
    ExceptionTests,
    CrashTests,
    PackTests,
    EndingTests,
    FlowRunTests,
):
    """Tests that every task runner has to pass; a subclass overrides the fixture ``task_runner``.

    What a task runner cannot do, by its `Capabilities`, is skipped; the reason tells which of them.
    Each test starts copies of the task runner that the fixture gives: it may be one for all tests.

    Attributes:
        patience_seconds: Longest wait for anything that a test waits for, in seconds; to be raised
            where the task runner takes longer to start. No test waits longer than it has to.
    """
