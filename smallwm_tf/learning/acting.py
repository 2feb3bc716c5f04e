"""Acting in the real game: encoder and policy, nothing else (Eq. 2)."""

import tensorflow as tf
import tensorflow_probability as tfp

from smallwm_tf.models.grid_convolution import prepare_kernel, to_grid_major
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.vqvae import SCREEN_SIZE, VQVAE

_FEW = 8  # observations from which on transformed kernels pay


class _Inference(tf.Module):
    """Weights made ready for one way of convolving, kept from one refresh to the next."""

    def __init__(self, vqvae: VQVAE, policy: PolicyAndValue, convolution: str):
        super().__init__(name=f"inference_{convolution}")
        self._vqvae, self._policy, self._convolution = vqvae, policy, convolution
        self._weights = tf.nest.map_structure(
            lambda tensor: tf.Variable(tensor, trainable=False), self._current()
        )

    def _current(self):
        folded = self._vqvae.encoder.fold(self._convolution)
        return folded, prepare_kernel(self._policy.conv_5x5.kernel, self._convolution)

    def refresh(self) -> None:
        """Takes over the networks' present weights."""
        tf.nest.map_structure(lambda v, t: v.assign(t), self._weights, self._current())

    def logits(self, observations: tf.Tensor) -> tf.Tensor:
        """uint8 [B, 96, 96, F] → action logits [B, M]."""
        folded, kernel = tf.nest.map_structure(tf.convert_to_tensor, self._weights)
        vqvae = self._vqvae
        vectors = vqvae.encoder.infer(observations, folded, self._convolution)
        codes = vqvae.quantizer.nearest(vectors)
        embedded = to_grid_major(vqvae.quantizer.lookup(codes))
        logits, _ = self._policy(embedded, kernel, self._convolution)
        return logits


class Actor(tf.Module):
    """Draws actions for real observations.

    Batch norm is folded and kernels are transformed once, by ``refresh``: call it after training
    and before acting.

    Args:
      vqvae: gives the codes.
      policy: gives the action logits.
    """

    def __init__(self, vqvae: VQVAE, policy: PolicyAndValue):
        super().__init__(name="actor")
        self._few = _Inference(vqvae, policy, "direct")
        is_direct = vqvae.convolution == "direct"
        self._many = self._few if is_direct else _Inference(vqvae, policy, vqvae.convolution)
        frames = [None, SCREEN_SIZE, SCREEN_SIZE, vqvae.num_stacked_frames]
        self.act = tf.function(
            self._act,
            input_signature=[
                tf.TensorSpec(frames, tf.uint8),
                tf.TensorSpec([], tf.float32),
                tf.TensorSpec([2], tf.int32),
                tf.TensorSpec([], tf.int32),
            ],
            autograph=False,
        )
        self.refresh = tf.function(self._refresh, autograph=False)

    def _refresh(self) -> None:
        self._few.refresh()
        if self._many is not self._few:
            self._many.refresh()

    def _act(
        self, observations: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        """Actions int32 [B] for uint8 [B, 96, 96, F]; ``step`` is folded into the seed pair."""
        logits = tf.cond(
            tf.shape(observations)[0] < _FEW,
            lambda: self._few.logits(observations),
            lambda: self._many.logits(observations),
        )
        actions = tfp.distributions.Categorical(logits / temperature)
        return actions.sample(seed=tf.random.experimental.stateless_fold_in(seed, step))
