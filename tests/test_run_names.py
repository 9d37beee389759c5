from pathlib import Path

import pytest

from runnerstone import allow_failure, flow, quote, task, unmapped


@task
def give(value):
    return value


def names_of(*calls):
    """The names of the runs that some calls submit."""

    @flow(task_runner="sequential")
    def body():
        return [call().name for call in calls]

    return body()


def name_of(template, fn, *args, **kwargs):
    made = task(task_run_name=template)(fn)
    [name] = names_of(lambda: made.submit(*args, **kwargs))
    return name


def parse(path, *, depth=3, encoding="utf-8"):
    return path


def collect(*items, **labels):
    return items


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("parse {path}", "parse data/a.txt"),
        ("parse {path.name}", "parse a.txt"),
        ("parse {path.parts[0]!r}", "parse 'data'"),
        ("{depth:03d} {encoding:>8}", "003 utf-8"),
        ("{{{depth}}}", "{3}"),
        ("no argument at all", "no argument at all"),
    ],
)
def test_a_template_can_do_what_format_can(template, name):
    assert name_of(template, parse, Path("data/a.txt")) == name


def test_a_template_knows_further_arguments_by_their_names():
    assert name_of("{items[1]} of {unit}", collect, 1, 2, unit="cm") == "2 of cm"


def test_a_callable_is_given_the_arguments_by_name_with_defaults():
    given = []

    def naming(arguments):
        given.append(dict(arguments))
        return f"{len(arguments)} arguments"

    assert name_of(naming, parse, "a", encoding="latin-1") == "3 arguments"
    assert given == [{"path": "a", "depth": 3, "encoding": "latin-1"}]


def test_a_name_is_one_line():
    assert name_of("  one\n{path}\t three ", parse, "two\r\n") == "one two three"


def test_a_future_stands_for_the_name_of_its_run():
    named = task(task_run_name="after {value}")(lambda value: value)
    before = task(task_run_name="first")(lambda: 1)

    names = names_of(
        lambda: named.submit(before()),
        lambda: named.submit(allow_failure(before())),
        lambda: named.submit(quote("second")),
    )

    assert names == ["after first", "after first", "after second"]


def test_each_run_of_a_map_has_a_name_of_its_own():
    scale = task(task_run_name="{number} by {factors}")(lambda number, factors: number)

    @flow(task_runner="sequential")
    def body():
        return [future.name for future in scale.map([1, 2], unmapped([10, 20]))]

    assert body() == ["1 by [10, 20]", "2 by [10, 20]"]


def test_a_name_of_its_own_is_in_the_record_and_in_messages():
    failing = task(task_run_name="broken {value}")(lambda value: 1 / value)

    run = flow(task_runner="sequential")(lambda: failing(0)).run()

    assert run.task_runs[0].name == "broken 0"
    assert run.task_runs[0].task_name == "<lambda>"
    assert run.failures[0][0] == "broken 0"
    assert "Task run 'broken 0' of flow run" in run.error.__notes__[0]


def test_runs_may_share_a_name():
    named = task(task_run_name="same")(lambda: 1)

    assert names_of(named.submit, named.submit) == ["same", "same"]


@pytest.mark.parametrize(
    ("naming", "reason"),
    [
        ("{path.nmae}", r"task 'parse': a run cannot be named by .*AttributeError.*nmae"),
        ("{path:d}", "a run cannot be named by '{path:d}': "),
        (lambda arguments: arguments["pth"], "a run cannot be named by .*KeyError: 'pth'"),
        (lambda arguments: 5, "names a run 5, which is no name"),
        (lambda arguments: " \n", r"names a run ' \\n', which is no name"),
        ("", "names a run '', which is no name"),
    ],
)
def test_what_gives_no_name_is_refused_where_the_task_is_called(naming, reason):
    with pytest.raises(ValueError, match=reason):
        name_of(naming, parse, Path("a"))


def test_the_reason_why_there_is_no_name_is_the_cause():
    with pytest.raises(ValueError, match="cannot be named") as caught:
        name_of(lambda arguments: 1 / 0, parse, "a")

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_run_that_cannot_be_named_is_not_submitted():
    @flow(task_runner="sequential")
    def body():
        with pytest.raises(ValueError, match="no name"):
            give.with_options(task_run_name=lambda arguments: "")(1)

    assert body.run().submitted == 0


def test_a_task_without_a_flow_needs_no_name():
    assert task(task_run_name=lambda arguments: 1 / 0)(parse)("a") == "a"


# Flow runs


def test_a_flow_run_is_named_by_a_template_or_a_callable():
    @flow(flow_run_name="census of {year:04d} in {place}")
    def census(year, place="Rome"):
        return year

    named = census.with_options(flow_run_name=lambda arguments: f"{arguments['place']}!")

    assert census.run(47).name == "census of 0047 in Rome"
    assert named.run(47, place="Ostia").name == "Ostia!"


def test_a_future_among_a_subflows_arguments_stands_for_the_name_of_its_run():
    @flow(flow_run_name="inner of {value}", task_runner="sequential")
    def inner(value):
        return value

    @flow(task_runner="sequential")
    def outer():
        return inner(give.with_options(task_run_name="one")(1))

    run = outer.run()

    assert run.result() == 1
    assert run.subflow_runs[0].name == "inner of one"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            "{yaer}",
            "flow 'census' has the run name '{yaer}', and no parameter 'yaer'; did you mean",
        ),
        ("{year", "flow 'census' has the run name '{year'"),
    ],
)
def test_a_template_that_does_not_fit_the_flow_is_refused_at_once(template, reason):
    def census(year):
        return year

    with pytest.raises(ValueError, match=reason):
        flow(flow_run_name=template)(census)


def test_a_function_that_takes_any_keyword_fits_any_template():
    assert name_of("{color} things", collect, color="red") == "red things"
    with pytest.raises(ValueError, match="KeyError: 'color'"):
        name_of("{color} things", collect, shape="round")


def test_a_flow_run_that_cannot_be_named_does_not_begin():
    begun = []
    census = flow(flow_run_name=lambda arguments: "")(lambda: begun.append(1))

    with pytest.raises(ValueError, match="which is no name"):
        census.run()

    assert begun == []
