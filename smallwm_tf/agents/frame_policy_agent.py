"""A policy on frames in the real game."""

import numpy as np
import tensorflow as tf

from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.models.frame_policy import FramePolicy
from smallwm_tf.models.policy import draw_actions


class FramePolicyAgent:
    """Draws actions from the policy with the weights of the moment.

    Args:
      policy: gives the action logits.
      temperature: divides the logits; 0 takes the most probable action.
    """

    def __init__(self, policy: FramePolicy, temperature: float = 1.0):
        snapshot = FramePolicy(policy.num_actions, policy.num_stacked_frames)
        snapshot.set_weights(policy.get_weights())

        def act(observations, seed, step):
            logits, _ = snapshot(observations)
            return draw_actions(logits, temperature, seed, step)

        frames = [None, FRAME_SIZE, FRAME_SIZE, policy.num_stacked_frames]
        signature = [
            tf.TensorSpec(frames, tf.uint8),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([], tf.int32),
        ]
        self._graph = tf.function(act, input_signature=signature, autograph=False)

    def begin(self, num_games: int) -> tuple[()]:
        """Nothing: an observation is all that this policy sees."""
        return ()

    def act(
        self, observations: np.ndarray, state: tuple[()], seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, tuple[()]]:
        """See ``Agent.act``."""
        return self._graph(observations, seed, step).numpy(), state
