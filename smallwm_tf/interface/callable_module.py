"""Commands that programs can call: `smallwm_tf.train(experiment)` beside `-m smallwm_tf.train`."""

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(module: str, function: Callable[..., Any]) -> None:
    """Lets a module itself be called as its function of the same name.

    Python binds a module to its name in the package whenever it is imported, so a function of that
    name would be lost sooner or later.
    """

    class Command(ModuleType):
        """A module that is also a function."""

        __signature__ = inspect.signature(function)

        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return function(*arguments, **options)

    sys.modules[module].__class__ = Command
