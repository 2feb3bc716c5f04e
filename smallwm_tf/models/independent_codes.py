"""Distributions of the next 36 codes, each cell by itself, and the logits that y_t alone gives.

Shapes: B batch, C channels of the cells, M actions, K embeddings.
"""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from smallwm_tf.models import initializers
from smallwm_tf.models.event_heads import reward_classes
from smallwm_tf.models.execution import DIRECT, Execution
from smallwm_tf.models.grid_convolution import GRID_SIZE
from smallwm_tf.models.input_checks import COLDEST


class IndependentCodes(NamedTuple):
    """Independent categoricals over the 36 cells, as in the paper.

    Another head's distribution offers the same methods, and is a nest of tensors, too, so that
    graphs may hand it on and batches of it may be joined. Seeds and codes that are not needed here
    are for those.
    """

    logits: tf.Tensor  # [B, 6, 6, K]

    def given(self, rewards: tf.Tensor) -> "IndependentCodes":
        """p(z_{t+1} | y_t, r_t): the same, whatever the transition pays."""
        return self

    def _distribution(self, temperature: float = 1.0) -> tfp.distributions.Distribution:
        return tfp.distributions.Independent(
            tfp.distributions.Categorical(logits=self.logits / temperature),
            reinterpreted_batch_ndims=2,
        )

    def log_prob(self, codes: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Nats per grid: int32 [B, 6, 6] → [B]. The seed is an int32 pair."""
        return self._distribution().log_prob(codes)

    def sample(self, seed: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
        """Codes int32 [B, 6, 6] from an int32 pair; the temperature divides logits.

        0 takes the most probable ones, and so does what is below ``COLDEST``.
        """
        if tf.is_tensor(temperature):
            is_cold = temperature < COLDEST
            drawn = self._sample(seed, tf.where(is_cold, 1.0, temperature))
            return tf.where(is_cold, self.mode(), drawn)
        return self.mode() if temperature < COLDEST else self._sample(seed, temperature)

    def _sample(self, seed: tf.Tensor, temperature: float | tf.Tensor) -> tf.Tensor:
        drawn = self._distribution(temperature).sample(seed=seed)
        # Of logits that are not finite K is drawn; the loss is to tell of them, not a lookup.
        return tf.minimum(drawn, self.logits.shape[-1] - 1)

    def mode(self) -> tf.Tensor:
        """The most probable code of each cell, int32 [B, 6, 6]."""
        return tf.argmax(self.logits, axis=-1, output_type=tf.int32)

    def entropy(self, codes: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
        """Nats of each cell when ``codes`` were drawn, [B, 6, 6].

        0 where ``sample`` takes the most probable code.
        """
        temperature = tf.convert_to_tensor(temperature, tf.float32)
        is_cold = temperature < COLDEST
        divisor = tf.where(is_cold, 1.0, temperature)
        return tf.where(is_cold, 0.0, self._distribution(divisor).distribution.entropy())


class CodesGivenReward(NamedTuple):
    """Independent categoricals for each of the rewards −1, 0 and 1 (not in the paper)."""

    logits: tf.Tensor  # [B, 3, 6, 6, K]

    def given(self, rewards: tf.Tensor) -> IndependentCodes:
        """p(z_{t+1} | y_t, r_t) of rewards [B], which are clipped and rounded."""
        return IndependentCodes(tf.gather(self.logits, reward_classes(rewards), batch_dims=1))


class CodeLogits(tf_keras.layers.Layer):
    """Logits of the next codes from y_t alone: one 1×1 convolution. Every code head is one.

    Args:
      num_embeddings: K.
      num_channels: C + M, of y.
      present_code_logit: added to the logit of the code that a cell has now. Most codes stay from
        step to step; with this the network need only learn which ones change.
      execution: how it is computed.
    """

    num_distributions = 1  #: for each cell

    def __init__(
        self,
        num_embeddings: int,
        num_channels: int,
        present_code_logit: float,
        execution: Execution = DIRECT,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_embeddings = num_embeddings
        self.present_code_logit = present_code_logit
        self.execution = execution
        num_outputs = self.num_distributions * num_embeddings
        self.convolution = initializers.dense(num_outputs, num_channels)
        self.built = True

    def logits(self, y: tf.Tensor, present_codes: tf.Tensor) -> tf.Tensor:
        """[B, number of distributions, 6, 6, K]."""
        shape = [GRID_SIZE, GRID_SIZE, -1, self.num_distributions, self.num_embeddings]
        logits = tf.transpose(tf.reshape(self.convolution(y), shape), [2, 3, 0, 1, 4])
        if self.present_code_logit:
            stays = tf.one_hot(present_codes, self.num_embeddings)
            logits += self.present_code_logit * stays[:, tf.newaxis]
        return logits
