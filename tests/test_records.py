import enum
import logging
import pickle
import threading
from logging import makeLogRecord

import pytest

from runnerstone._records import RecordKeeper, record_of


class Weekday(enum.IntEnum):
    MONDAY = 1


@pytest.fixture
def keeper():
    return RecordKeeper("runnerstone.task_runs", logging.INFO)


def test_what_is_logged_is_kept_in_order(keeper):
    keeper.logger.info("one")
    keeper.logger.error("two")

    assert [(it["levelname"], it["msg"]) for it in keeper.records] == [
        ("INFO", "one"),
        ("ERROR", "two"),
    ]


def test_what_is_below_the_level_is_not_kept(keeper):
    keeper.logger.debug("too little")

    assert keeper.records == []
    assert not keeper.logger.isEnabledFor(logging.DEBUG)


def test_nobody_else_gets_what_is_logged(keeper, caplog):
    caplog.set_level(logging.DEBUG)

    keeper.logger.error("kept")

    assert caplog.records == []


def test_a_record_that_arrives_is_the_one_that_was_logged(keeper):
    keeper.logger.warning("%d of %s", 1, "two", extra={"task_run_name": "first"})
    [kept] = pickle.loads(pickle.dumps(keeper.records))

    record = makeLogRecord(kept)

    assert record.getMessage() == "1 of two"
    assert record.name == "runnerstone.task_runs"
    assert record.levelno == logging.WARNING
    assert record.funcName == "test_a_record_that_arrives_is_the_one_that_was_logged"
    assert record.threadName == threading.current_thread().name
    assert record.task_run_name == "first"


def test_a_message_is_formatted_once(keeper):
    keeper.logger.info("%s", "100% %s")
    keeper.logger.info("100% %s")

    assert [makeLogRecord(it).getMessage() for it in keeper.records] == ["100% %s"] * 2


def test_an_exception_is_kept_as_its_text(keeper):
    try:
        raise KeyError("lost")
    except KeyError:
        keeper.logger.exception("it failed:")

    record = makeLogRecord(keeper.records[0])
    assert record.exc_info is None
    assert record.exc_text.startswith("Traceback (most recent call last):")
    assert "KeyError: 'lost'" in logging.Formatter().format(record)


def test_a_stack_is_kept(keeper):
    keeper.logger.info("here", stack_info=True)

    assert "test_a_stack_is_kept" in makeLogRecord(keeper.records[0]).stack_info


def test_attributes_that_are_not_plain_are_kept_as_their_reprs(keeper):
    class Odd:
        def __repr__(self):
            raise ValueError

    keeper.logger.info("x", extra={"lock": threading.Lock(), "odd": Odd(), "many": [1, 2]})

    [kept] = pickle.loads(pickle.dumps(keeper.records))
    assert kept["lock"].startswith("<unlocked _thread.lock")
    assert isinstance(kept["odd"], str)
    assert kept["many"] == "[1, 2]"


def test_record_that_cannot_be_formatted_is_told_of_and_not_kept(capsys):
    keeper = RecordKeeper("name", logging.INFO)

    keeper.logger.info("nothing", 1)  # noqa: PLE1205  # as is tested
    keeper.logger.info("something")

    assert [it["msg"] for it in keeper.records] == ["something"]
    assert "not all arguments converted" in capsys.readouterr().err


def test_application_s_factory_is_not_asked_again(monkeypatch):
    keeper = RecordKeeper("one.two", logging.INFO)
    keeper.logger.info("something")
    monkeypatch.setattr(logging, "_logRecordFactory", None)

    record = record_of(keeper.records[0])

    assert (record.name, record.getMessage()) == ("one.two", "something")


def test_value_that_only_resembles_a_plain_one_travels_as_text():
    keeper = RecordKeeper("name", logging.INFO)

    keeper.logger.info("something", extra={"number": Weekday.MONDAY})

    assert type(keeper.records[0]["number"]) is str
