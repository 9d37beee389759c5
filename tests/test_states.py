import attrs
import pytest

from runnerstone.states import (
    ALL_COMPLETED,
    AWAITING_RETRY,
    COMPLETED,
    PENDING,
    RETRYING,
    RUNNING,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    NotReady,
    State,
    StateType,
    aggregate,
)

PREDICATES = ["is_completed", "is_failed", "is_crashed", "is_cancelled", "is_skipped"]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (COMPLETED, "Completed(message=None, type=COMPLETED)"),
        (ALL_COMPLETED, "Completed(message='All states completed.', type=COMPLETED)"),
        (Completed("Early.", result=1), "Completed(message='Early.', type=COMPLETED)"),
        (Failed("1/2 states failed."), "Failed(message='1/2 states failed.', type=FAILED)"),
        (State(StateType.FAILED, "TimedOut"), "TimedOut(message=None, type=FAILED)"),
        (Crashed("It's gone."), 'Crashed(message="It\'s gone.", type=CRASHED)'),
        (Cancelled(), "Cancelled(message=None, type=CANCELLED)"),
        (PENDING, "Pending(message=None, type=PENDING)"),
        (RUNNING, "Running(message=None, type=RUNNING)"),
        (RETRYING, "Retrying(message=None, type=RUNNING)"),
        (AWAITING_RETRY, "AwaitingRetry(message=None, type=SCHEDULED)"),
    ],
    ids=lambda value: value.name if isinstance(value, State) else "",
)
def test_state_prints_as_the_log_shows_it(state, text):
    shown = (str(state), repr(state))

    assert shown == (text, text)


def test_not_ready_names_the_upstream_run():
    state = NotReady("parse-0a1b2c3d-4")

    assert str(state) == (
        "NotReady(message=\"Upstream task run 'parse-0a1b2c3d-4' did not reach a 'COMPLETED' "
        'state.", type=SKIPPED)'
    )


@pytest.mark.parametrize(
    ("state", "predicate"),
    [
        (Completed(), "is_completed"),
        (Failed(), "is_failed"),
        (Crashed(), "is_crashed"),
        (Cancelled(), "is_cancelled"),
        (NotReady("parse"), "is_skipped"),
        (PENDING, None),
        (RUNNING, None),
        (AWAITING_RETRY, None),
    ],
    ids=lambda value: value.name if isinstance(value, State) else "",
)
def test_no_two_predicates_hold_of_one_state(state, predicate):
    holding = [name for name in PREDICATES if getattr(state, name)()]

    assert holding == ([] if predicate is None else [predicate])


def test_nothing_follows_the_types_that_are_final():
    final = [type_.name for type_ in StateType if State(type_, "Any").is_final()]

    assert final == ["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SKIPPED"]


def test_a_refined_name_changes_no_predicate():
    state = State(StateType.FAILED, "TimedOut")

    assert state.is_failed()
    assert state.is_final()


def test_state_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        COMPLETED.message = "Later."


def test_states_of_one_type_name_message_and_result_are_equal():
    assert Failed("1/2 states failed.") == Failed("1/2 states failed.")
    assert Failed("1/2 states failed.") != Failed("2/2 states failed.")
    assert Completed(result=1) != Completed(result=2)
    assert Failed() != State(StateType.FAILED, "TimedOut")


def test_message_and_result_are_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        State(StateType.FAILED, "Failed", "Because.")


def test_state_type_is_its_name_as_text():
    assert f"{StateType.COMPLETED}" == "COMPLETED"
    assert StateType("SKIPPED") is StateType.SKIPPED


COMPLETED_, FAILED_, CRASHED_ = StateType.COMPLETED, StateType.FAILED, StateType.CRASHED
CANCELLED_, SKIPPED_ = StateType.CANCELLED, StateType.SKIPPED


@pytest.mark.parametrize(
    ("counts", "skipped_by_cancelling", "state"),
    [
        ({COMPLETED_: 3}, 0, Completed("All states completed.")),
        ({COMPLETED_: 2, FAILED_: 1}, 0, Failed("1/3 states failed.")),
        ({COMPLETED_: 2, CRASHED_: 1}, 0, Failed("1/3 states failed.")),
        ({FAILED_: 2, CRASHED_: 1}, 0, Failed("3/3 states failed.")),
        ({FAILED_: 1, SKIPPED_: 2, CANCELLED_: 1}, 0, Failed("1/4 states failed.")),
        ({COMPLETED_: 1, SKIPPED_: 2}, 0, Failed("2/3 states skipped.")),
        ({SKIPPED_: 2, CANCELLED_: 1}, 0, Failed("2/3 states skipped.")),
        ({SKIPPED_: 2, CANCELLED_: 1}, 1, Failed("2/3 states skipped.")),
        ({SKIPPED_: 2, CANCELLED_: 1}, 2, Cancelled("3/3 states cancelled.")),
        ({COMPLETED_: 3, CANCELLED_: 1}, 0, Cancelled("1/4 states cancelled.")),
        ({COMPLETED_: 1, SKIPPED_: 2}, 2, Cancelled("2/3 states cancelled.")),
    ],
)
def test_many_states_make_one(counts, skipped_by_cancelling, state):
    made = aggregate(counts, skipped_by_cancelling=skipped_by_cancelling)

    assert made == state


def test_a_state_that_is_not_final_counts_as_failed():
    made = aggregate({COMPLETED_: 1, StateType.RUNNING: 1, StateType.PENDING: 1})

    assert made == Failed("2/3 states failed.")


def test_counts_of_zero_change_nothing():
    made = aggregate({COMPLETED_: 2, FAILED_: 0, SKIPPED_: 0, CANCELLED_: 0})

    assert made == Completed("All states completed.")
