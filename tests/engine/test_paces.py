import pytest

from runnerstone._engine.paces import FEWEST_CALLS, PACK_SECONDS, Pace
from runnerstone.contents import Pickled
from runnerstone.outcomes import Crash, Outcome

MANY = 1_000_000


def outcomes(count, seconds, nbytes=1):
    """Of calls that were executed one right after another."""
    value = Pickled(bytes(nbytes))
    return [
        Outcome(value, started=number * seconds, ended=(number + 1) * seconds)
        for number in range(count)
    ]


@pytest.fixture
def pace():
    return Pace(1000)


def test_calls_of_which_nothing_is_known_go_alone(pace):
    assert not pace.is_small
    assert pace.size(MANY, evenly=False) == 1


def test_pack_lasts_as_long_as_it_shall(pace):
    pace.learn(outcomes(10, 0.001))

    assert pace.size(MANY, evenly=False) == pytest.approx(PACK_SECONDS / 0.001, abs=1)


def test_pack_has_no_more_calls_than_it_may():
    pace = Pace(7)
    pace.learn(outcomes(10, 0.0001))

    assert pace.size(MANY, evenly=False) == 7


def test_pack_is_no_larger_than_its_share(pace):
    pace.learn(outcomes(10, 0.001))

    assert pace.size(5, evenly=False) == 5


def test_what_takes_next_to_nothing_is_not_parted_unless_it_has_to_be(pace):
    pace.learn(outcomes(10, 0.00001))

    assert pace.size(2, evenly=False) == pytest.approx(100, abs=1)
    assert pace.size(2, evenly=True) == 2


def test_large_values_make_small_packs(pace):
    pace.learn(outcomes(10, 0.00001, nbytes=16 * 1024))

    assert pace.size(MANY, evenly=False) == 4


def test_calls_go_alone_that_take_long(pace):
    pace.learn(outcomes(10, 1.01 * PACK_SECONDS / FEWEST_CALLS))

    assert not pace.is_small
    assert pace.size(MANY, evenly=False) == 1


def test_one_slow_call_is_forgotten_soon(pace):
    pace.learn(outcomes(1, 60))
    for _ in range(10):
        pace.learn(outcomes(1, 0.0001))

    assert pace.is_small


def test_calls_that_were_not_executed_tell_nothing(pace):
    pace.learn([Outcome(problem=Crash("its worker died"))])

    assert not pace.is_small


def test_clock_that_is_set_back_does_no_harm(pace):
    pace.learn([Outcome(started=10.0, ended=5.0)])

    assert 1 <= pace.size(MANY, evenly=False) <= 1000
