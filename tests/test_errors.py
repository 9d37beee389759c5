import builtins
import pickle
import re

import pytest

from runnerstone import errors
from runnerstone.errors import RunnerstoneError

LEVEL = "│   "


def drawn_tree():
    """The tree in the docstring: the bases of each class by its name."""
    lines = errors.__doc__.partition("::")[2].split("\n\n")[1].splitlines()
    branch, tree = [], {}
    for line in lines:
        drawn = re.fullmatch(r"    ((?:│   |    )*(?:├── |└── )?)(\w+) *(?:\((\w+)\))?.*", line)
        depth = len(drawn[1]) // len(LEVEL)
        branch[depth:] = [drawn[2]]
        parent = branch[-2] if depth else "Exception"
        tree[drawn[2]] = [parent, *filter(None, [drawn[3]])]
    return tree


def real_tree():
    """The bases of each exception class that the module defines, by its name."""
    return {
        name: [base.__name__ for base in found.__bases__]
        for name, found in vars(errors).items()
        if isinstance(found, type) and found.__module__ == errors.__name__
    }


def test_the_tree_in_the_docstring_is_the_real_one():
    assert drawn_tree() == real_tree()


def test_the_docstring_says_of_each_leaf_what_happened():
    leaves = [line for line in errors.__doc__.splitlines() if re.search("── .*[(]", line)]

    assert leaves
    assert all(re.search(r"\(\w+\) +\w", line) for line in leaves)


@pytest.mark.parametrize("name", sorted(real_tree()))
def test_everything_that_runnerstone_raises_has_one_root(name):
    assert issubclass(getattr(errors, name), RunnerstoneError)


@pytest.mark.parametrize("name", [name for name, bases in real_tree().items() if len(bases) > 1])
def test_a_leaf_is_caught_as_the_builtin_that_fits(name):
    builtin = getattr(builtins, drawn_tree()[name][1])

    with pytest.raises(builtin, match="no such thing"):
        raise getattr(errors, name)("no such thing")


@pytest.mark.parametrize("name", sorted(real_tree()))
def test_an_error_travels_with_its_text(name):
    error = getattr(errors, name)("it is gone")

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == "it is gone"


def test_a_cancelled_run_does_not_cancel_what_awaits_it():
    from asyncio import CancelledError

    assert issubclass(errors.TaskCancelledError, Exception)
    assert not issubclass(errors.TaskCancelledError, CancelledError)
