"""Acting in the real game: encoder and policy, nothing else (Eq. 2)."""

import tensorflow as tf
import tensorflow_probability as tfp

from smallwm_tf.models.grid_convolution import to_grid_major
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.vqvae import SCREEN_SIZE, VQVAE

_FEW = 8  # observations


class Actor(tf.Module):
    """Draws actions for real observations.

    Args:
      vqvae: gives the codes.
      policy: gives the action logits.
    """

    def __init__(self, vqvae: VQVAE, policy: PolicyAndValue):
        super().__init__(name="actor")
        self._vqvae = vqvae
        self._policy = policy
        frames = [None, SCREEN_SIZE, SCREEN_SIZE, vqvae.num_stacked_frames]
        self.act = tf.function(
            self._act,
            input_signature=[
                tf.TensorSpec(frames, tf.uint8),
                tf.TensorSpec([], tf.float32),
                tf.TensorSpec([2], tf.int32),
                tf.TensorSpec([], tf.int32),
            ],
        )

    def _act(
        self, observations: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        """Actions int32 [B] for uint8 [B, 96, 96, F]; ``step`` is folded into the seed pair."""
        # Transforming kernels pays from a handful of observations on.
        codes = tf.cond(
            tf.shape(observations)[0] < _FEW,
            lambda: self._vqvae.encode(observations, "direct"),
            lambda: self._vqvae.encode(observations),
        )
        embedded = to_grid_major(self._vqvae.quantizer.lookup(codes))
        logits, _ = self._policy(embedded)
        actions = tfp.distributions.Categorical(logits / temperature)
        return actions.sample(seed=tf.random.experimental.stateless_fold_in(seed, step))
