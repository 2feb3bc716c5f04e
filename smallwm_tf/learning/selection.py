"""Keeps the policy that earned most in the real game, of several moments of its training."""

import numpy as np

from smallwm_tf.models.policy import PolicyAndValue


class BestPolicy:
    """Remembers the weights of the best policy offered so far.

    Args:
      policy: whose weights are looked at, and restored in the end.

    Attributes:
      pay: what the best one earned; minus infinity before the first offer.
    """

    def __init__(self, policy: PolicyAndValue):
        self._policy = policy
        self._weights: list[np.ndarray] = []
        self.pay = -np.inf

    def offer(self, pay: float) -> bool:
        """Keeps the present weights unless earlier ones earned more; returns whether it did.

        Of two that earned the same the later one is kept: where the real game paid nothing, the
        dream's opinion counts.
        """
        if pay < self.pay:
            return False
        self.pay = pay
        self._weights = [variable.numpy() for variable in self._policy.variables]
        return True

    def restore(self) -> None:
        """Gives the policy the best weights back."""
        for variable, value in zip(self._policy.variables, self._weights, strict=True):
            variable.assign(value)
