"""Tasks by the names that their modules have for them."""

import inspect
import sys
from typing import Any


def imports_as(task: object, module: str, qualname: str) -> bool:
    """Whether another process that imports the module has the task there, too."""
    if module not in sys.modules or _travels_by_value(module):
        return False
    try:
        return _find(module, qualname) is task
    except AttributeError:
        return False


def import_task(module: str, qualname: str) -> Any:
    """The task of that name."""
    __import__(module)
    return _find(module, qualname)


def _travels_by_value(module: str) -> bool:
    if module == "__main__":
        return True
    if "cloudpickle" not in sys.modules:
        return False
    import cloudpickle  # waits while another thread is importing it

    names = cloudpickle.list_registry_pickle_by_value()  # a package's stands for all in it
    return any(f"{module}.".startswith(f"{name}.") for name in names)


def _find(module: str, qualname: str) -> Any:
    """What a module's variable, or a class's in it, is; of a method the task itself."""
    found: Any = sys.modules[module]
    *owners, name = qualname.split(".")
    for owner in owners:
        found = getattr(found, owner)
    return inspect.getattr_static(found, name)
