"""Keeps the best weights of several moments of a training, by a measure on real steps."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class BestWeights:
    """Remembers the variables of the best moment offered so far.

    Args:
      variables: weights, and the optimiser's moments, which fit no other weights.
      score: of the best moment; None before the first offer.
      values: the variables at that moment; none before the first offer.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        score: float | None = None,
        values: Sequence[np.ndarray] = (),
    ):
        self._variables = list(variables)
        self.score = score
        self.values = tuple(values)

    def offer(self, score: float) -> bool:
        """Keeps the present values unless earlier ones scored higher; returns whether it did.

        Of two that scored the same the later one is kept: where the real game paid a policy
        nothing, the dream's opinion counts.
        """
        if self.score is not None and score < self.score:
            return False
        self.score = score
        self.values = values_of(self._variables)
        return True

    def restore(self) -> None:
        """Gives the variables their best values back."""
        assign(self._variables, self.values)


def values_of(variables: Sequence[tf.Variable]) -> tuple[np.ndarray, ...]:
    """Copies of the variables' values."""
    return tuple(variable.numpy() for variable in variables)


def assign(variables: Sequence[tf.Variable], values: Sequence[np.ndarray]) -> None:
    """Gives variables the values that ``values_of`` returned."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
