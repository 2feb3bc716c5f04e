"""Finds a weight that is not finite, which must never reach a checkpoint."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from smallwm_tf.models.initializers import weights_by_path


def weight_that_is_not_finite(components: Mapping[str, Any]) -> str | None:
    """The place of one, as "component: encoder/projection/kernel"; None if all are."""
    for name, component in components.items():
        for variable in getattr(component, "variables", [component]):
            if variable.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(variable))):
                return f"{name}: {_path_of(variable, component)}"
    return None


def _path_of(variable: tf.Variable, component: Any) -> str:
    """The names that lead to a variable: "encoder/projection/kernel"; an optimiser has its own."""
    paths = weights_by_path(component) if isinstance(component, tf.Module) else {}
    return next(("/".join(p[1:]) for p, known in paths.items() if known is variable), variable.name)
