import math
import pickle
import random

import pytest

from runnerstone import exponential_backoff
from runnerstone.delays import LONGEST, checked_delay, seconds_before

RETRIES = range(1, 5)


def test_a_number_is_the_delay_before_each_retry():
    assert [seconds_before(2, retry) for retry in RETRIES] == [2.0] * 4


def test_the_last_of_several_goes_on_counting():
    delay = checked_delay([1, 10, 60])

    assert [seconds_before(delay, retry) for retry in RETRIES] == [1, 10, 60, 60]


def test_a_callable_is_given_the_retrys_number():
    assert [seconds_before(lambda retry: 5 * retry, retry) for retry in RETRIES] == [5, 10, 15, 20]


def test_a_delay_is_a_float():
    assert all(type(seconds_before(it, 1)) is float for it in (1, (1,), lambda retry: retry))


@pytest.mark.parametrize(
    ("found", "kind", "reason"),
    [
        ("soon", TypeError, "not 'soon'"),
        (None, TypeError, "not None"),
        (True, TypeError, "not True"),
        (-1, ValueError, "from 0 to 9e.09, not -1"),
        (math.nan, ValueError, "not nan"),
        (math.inf, ValueError, "not inf"),
        ([1], TypeError, r"returned \[1\] instead of a number"),
        (abs, TypeError, "returned <built-in function abs> instead of a number"),
    ],
)
def test_what_is_no_delay_is_refused_when_a_callable_returns_it(found, kind, reason):
    with pytest.raises(kind, match=reason):
        seconds_before(lambda retry: found, 1)


def test_what_a_callable_raises_passes():
    def broken(retry):
        raise KeyError(retry)

    with pytest.raises(KeyError, match="3"):
        seconds_before(broken, 3)


# Jitter


def test_jitter_lengthens_by_up_to_its_share():
    random.seed(1)

    found = [seconds_before(10, 1, 0.5) for _ in range(1000)]

    assert 10 <= min(found) < 10.1
    assert 14.9 < max(found) <= 15


def test_jitter_lengthens_what_a_callable_returns_too():
    random.seed(1)

    found = {seconds_before(lambda retry: 10 * retry, 2, 1) for _ in range(100)}

    assert len(found) > 50
    assert min(found) >= 20
    assert max(found) <= 40


def test_jitter_makes_nothing_of_no_delay():
    assert seconds_before(0, 1, 5) == 0


def test_no_delay_is_longer_than_a_thread_can_wait():
    assert {seconds_before(LONGEST, 1, 1000) for _ in range(10)} == {LONGEST}


# Exponential backoff


def test_exponential_backoff_grows_up_to_its_limit():
    backoff = exponential_backoff(1, factor=3, max_seconds=20)

    assert [backoff(retry) for retry in RETRIES] == [1, 3, 9, 20]


def test_exponential_backoff_doubles_from_a_second_to_an_hour():
    backoff = exponential_backoff()

    assert [backoff(retry) for retry in RETRIES] == [1, 2, 4, 8]
    assert backoff(13) == 3600


def test_exponential_backoff_stays_at_its_limit_however_many_retries_there_are():
    assert exponential_backoff(0.5, factor=10.0)(10_000) == 3600


def test_exponential_backoff_by_factor_1_is_constant():
    backoff = exponential_backoff(7, factor=1)

    assert [backoff(retry) for retry in RETRIES] == [7] * 4


def test_exponential_backoff_may_begin_at_its_limit_or_at_nothing():
    assert exponential_backoff(10, max_seconds=3)(1) == 3
    assert exponential_backoff(0)(5) == 0


def test_exponential_backoff_travels():
    backoff = exponential_backoff(2, factor=3, max_seconds=4)

    assert pickle.loads(pickle.dumps(backoff)) == backoff


@pytest.mark.parametrize(
    ("arguments", "kind", "reason"),
    [
        ({"initial_seconds": "1"}, TypeError, r"takes numbers, not \('1', factor=2.0"),
        ({"initial_seconds": True}, TypeError, "takes numbers, not"),
        ({"factor": None}, TypeError, "factor=None"),
        ({"initial_seconds": -1}, ValueError, "seconds from 0 to 9e.09 and a factor from 1"),
        ({"initial_seconds": math.nan}, ValueError, "nan"),
        ({"max_seconds": math.inf}, ValueError, "max_seconds=inf"),
        ({"factor": 0.5}, ValueError, "factor=0.5"),
        ({"factor": math.nan}, ValueError, "factor=nan"),
    ],
)
def test_exponential_backoff_out_of_range_is_refused(arguments, kind, reason):
    with pytest.raises(kind, match=reason):
        exponential_backoff(**arguments)
