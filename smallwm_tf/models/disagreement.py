"""How much heads disagree about what comes next: a bonus for what was seen too seldom.

Heads that differ in their initial weights alone come to agree where there is data, and nowhere else
(Pathak et al. 2019, "Self-Supervised Exploration via Disagreement"; in dreams Sekar et al. 2020,
"Planning to Explore via Self-Supervised World Models"). Those papers take the variance of
predicted features; codes are categorical, so this is the information that the next codes would give
about which head is right: the entropy of the mean prediction minus the mean entropy.

Shapes: B batch, C channels of the cells, M actions, K embeddings.
"""

import tensorflow as tf
import tf_keras

from smallwm_tf.models import initializers
from smallwm_tf.models.grid_convolution import NUM_CELLS
from smallwm_tf.models.grid_normalization import LEAKY_RELU_SLOPE

_NUM_HEADS = 5
_UNITS = 64  # of each head, at every cell


class DisagreementHeads(tf_keras.layers.Layer):
    """Five predictions of the next codes, each by two 1×1 convolutions of y_t.

    Args:
      num_embeddings: K.
      num_channels: C + M, of y.
    """

    def __init__(self, num_embeddings: int, num_channels: int, **kwargs):
        super().__init__(**kwargs)
        self._num_embeddings = num_embeddings
        self.hidden = [initializers.dense(_UNITS, num_channels) for _ in range(_NUM_HEADS)]
        self.logits = [initializers.dense(num_embeddings, _UNITS) for _ in range(_NUM_HEADS)]
        self.built = True

    def losses(self, y: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """Nats per grid, mean over heads, [B]: y [36, B, C + M] and next codes int [B, 6, 6].

        The gradient ends at y: the heads watch the world model and do not change it.
        """
        log_p = self._log_probabilities(tf.stop_gradient(y))
        targets = tf.transpose(tf.reshape(codes, [-1, NUM_CELLS]))  # [36, B]
        hits = tf.one_hot(targets, self._num_embeddings)
        return -tf.reduce_mean(tf.reduce_sum(log_p * hits, axis=[1, 3]), axis=0)

    def disagreement(self, y: tf.Tensor) -> tf.Tensor:
        """Nats per cell, [B]: from 0, where all heads say the same, to ln 5."""
        log_p = self._log_probabilities(y)
        p = tf.exp(log_p)
        mean = tf.reduce_mean(p, axis=0)
        of_mean = -tf.reduce_sum(tf.math.xlogy(mean, mean), axis=-1)  # [36, B]
        of_heads = -tf.reduce_mean(tf.reduce_sum(p * log_p, axis=-1), axis=0)
        return tf.reduce_mean(of_mean - of_heads, axis=0)

    def _log_probabilities(self, y: tf.Tensor) -> tf.Tensor:
        """Of the next code of each cell, [5, 36, B, K]."""
        hidden = [tf.nn.leaky_relu(layer(y), alpha=LEAKY_RELU_SLOPE) for layer in self.hidden]
        logits = [layer(h) for layer, h in zip(self.logits, hidden, strict=True)]
        return tf.nn.log_softmax(tf.stack(logits))
