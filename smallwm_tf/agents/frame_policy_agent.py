"""A policy on frames in the real game."""

import numpy as np

from smallwm_tf.agents.policy_agent import drawing_graph
from smallwm_tf.models.frame_policy import FramePolicy


class FramePolicyAgent:
    """Draws actions from the policy with the weights of the moment.

    Args:
      policy: gives the action logits.
      temperature: divides the logits; 0 takes the most probable action.
    """

    def __init__(self, policy: FramePolicy, temperature: float = 1.0):
        snapshot = FramePolicy(policy.num_actions, policy.num_stacked_frames)
        snapshot.set_weights(policy.get_weights())
        self._graph = drawing_graph(snapshot, policy.num_stacked_frames, temperature)

    def begin(self, num_games: int) -> tuple[()]:
        """Nothing: an observation is all that this policy sees."""
        return ()

    def act(
        self, observations: np.ndarray, state: tuple[()], seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, tuple[()]]:
        """See ``Agent.act``."""
        return self._graph(observations, seed, step).numpy(), state
