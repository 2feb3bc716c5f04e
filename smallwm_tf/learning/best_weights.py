"""Keeps the best weights of several moments of a training, by a measure on real steps."""

import numpy as np
import tensorflow as tf


class BestWeights:
    """Remembers the weights of the best moment offered so far.

    Args:
      network: whose weights are looked at, and restored in the end.

    Attributes:
      score: of the best moment; None before the first offer.
      weights: its weights; none before the first offer.
    """

    def __init__(self, network: tf.Module):
        self._network = network
        self.weights: list[np.ndarray] = []
        self.score: float | None = None

    def offer(self, score: float) -> bool:
        """Keeps the present weights unless earlier ones scored higher; returns whether it did.

        Of two that scored the same the later one is kept: where the real game paid a policy
        nothing, the dream's opinion counts.
        """
        if self.score is not None and score < self.score:
            return False
        self.score = score
        self.weights = weights_of(self._network)
        return True

    def restore(self) -> None:
        """Gives the network the best weights back."""
        set_weights(self._network, self.weights)


def weights_of(network: tf.Module) -> list[np.ndarray]:
    """Copies of a network's weights."""
    return [variable.numpy() for variable in network.variables]


def set_weights(network: tf.Module, weights: list[np.ndarray]) -> None:
    """Gives a network weights that ``weights_of`` returned."""
    for variable, value in zip(network.variables, weights, strict=True):
        variable.assign(value)
