"""Keeps the policy that earned most in the real game, of several moments of its training."""

import numpy as np

from smallwm_tf.models.policy import PolicyAndValue


class BestPolicy:
    """Remembers the weights of the best policy offered so far.

    Args:
      policy: whose weights are looked at, and restored in the end.

    Attributes:
      pay: what the best one earned; None before the first offer.
      weights: its weights; none before the first offer.
    """

    def __init__(self, policy: PolicyAndValue):
        self._policy = policy
        self.weights: list[np.ndarray] = []
        self.pay: float | None = None

    def offer(self, pay: float) -> bool:
        """Keeps the present weights unless earlier ones earned more; returns whether it did.

        Of two that earned the same the later one is kept: where the real game paid nothing, the
        dream's opinion counts.
        """
        if self.pay is not None and pay < self.pay:
            return False
        self.pay = pay
        self.weights = weights_of(self._policy)
        return True

    def restore(self) -> None:
        """Gives the policy the best weights back."""
        set_weights(self._policy, self.weights)


def weights_of(policy: PolicyAndValue) -> list[np.ndarray]:
    """Copies of a policy's weights."""
    return [variable.numpy() for variable in policy.variables]


def set_weights(policy: PolicyAndValue, weights: list[np.ndarray]) -> None:
    """Gives a policy weights that ``weights_of`` returned."""
    for variable, value in zip(policy.variables, weights, strict=True):
        variable.assign(value)
