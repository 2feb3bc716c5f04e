"""Vector quantiser with a codebook learned by exponential moving averages.

Source: van den Oord et al. (2017), appendix A.1; section 3.3 of the paper. The codebook counts as
parameters, its moving averages do not.
"""

import math
from typing import NamedTuple

import tensorflow as tf
import tf_keras

from smallwm_tf.models.bilinear_algorithms import NUM_CELLS


class Quantized(NamedTuple):
    """Result of quantising vectors [..., D]."""

    inputs: tf.Tensor  # [..., D], as they were
    quantized: tf.Tensor  # [..., D], gradient passed straight through to the inputs
    encoding_indices: tf.Tensor  # [...], int32
    commitment_loss: tf.Tensor  # scalar, mean squared distance, not yet weighted


class VectorQuantizer(tf_keras.layers.Layer):
    """Nearest neighbour in L2 among ``num_embeddings`` vectors.

    Args:
      num_embeddings: K.
      embedding_dim: D.
      decay: of the moving averages of cluster sizes and cluster sums.
      epsilon: Laplace smoothing of the cluster sizes, so that an unused vector divides by no zero.
      restart_below: every update moves the least used vector, if its cluster size has fallen below
        this and the batch does not use it, onto the worst represented vector of the batch; 0 moves
        none. It starts again with size 1. One at a time, since the next batch finds the
        surroundings of that one represented.

    An unused vector e shrinks: after n updates it is e·dⁿ / (dⁿ + epsilon), d being the decay; with
    0.99 and 1e-5 half of it is left after 1,146 updates, a hundredth after 1,604. The encoder's
    vectors are normalised to mean 0, so that it may well be the nearest again for some of them.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        decay: float,
        epsilon: float,
        restart_below: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.decay = decay
        self.epsilon = epsilon
        self.restart_below = restart_below

        def weight(name: str, shape: list[int], initializer) -> tf.Variable:
            return self.add_weight(name, shape, initializer=initializer, trainable=False)

        limit = math.sqrt(3.0 / num_embeddings)
        uniform = tf_keras.initializers.RandomUniform(-limit, limit)
        self.embeddings = weight("embeddings", [num_embeddings, embedding_dim], uniform)
        # See reset_averages; from zero, the first update would throw unused vectors to the origin.
        self.ema_cluster_size = weight("ema_cluster_size", [num_embeddings], "ones")
        self.ema_cluster_sum = weight("ema_cluster_sum", [num_embeddings, embedding_dim], "zeros")
        self.reset_averages()

    def reset_averages(self) -> None:
        """One virtual vector per cluster, equal to its embedding, as at the start."""
        self.ema_cluster_size.assign(tf.ones([self.num_embeddings]))
        self.ema_cluster_sum.assign(self.embeddings)

    def lookup(self, encoding_indices: tf.Tensor) -> tf.Tensor:
        """Embedding vectors of indices: [...] → [..., D]."""
        return tf.gather(self.embeddings, encoding_indices)

    def nearest(self, inputs: tf.Tensor) -> tf.Tensor:
        """Index of the nearest embedding: [..., D] → [...], int32."""
        return nearest(inputs, self.embeddings)

    def call(self, inputs: tf.Tensor, training: bool = False) -> Quantized:
        """Quantises [..., D]; the codebook moves only in training."""
        indices = self.nearest(inputs)
        quantized = self.lookup(indices)
        commitment_loss = tf.reduce_mean(tf.square(tf.stop_gradient(quantized) - inputs))
        if training:
            self.update(inputs, indices)
        straight_through = inputs + tf.stop_gradient(quantized - inputs)
        return Quantized(inputs, straight_through, indices, commitment_loss)

    def update(self, inputs: tf.Tensor, encoding_indices: tf.Tensor) -> None:
        """One moving-average step towards the means of the vectors assigned to each embedding."""
        flat = tf.stop_gradient(tf.reshape(inputs, [-1, self.embedding_dim]))
        indices = tf.reshape(encoding_indices, [-1])
        assignment = tf.one_hot(indices, self.num_embeddings)
        counts = tf.reduce_sum(assignment, axis=0)
        sums = tf.matmul(assignment, flat, transpose_a=True)
        sizes = self.decay * self.ema_cluster_size + (1.0 - self.decay) * counts
        cluster_sum = self.decay * self.ema_cluster_sum + (1.0 - self.decay) * sums
        if self.restart_below > 0.0:
            errors = tf.math.squared_difference(flat, self.lookup(indices))
            worst = flat[tf.argmax(tf.reduce_sum(errors, axis=1))]
            is_unused = (counts == 0.0) & (sizes < self.restart_below)
            least_used = tf.argmin(tf.where(is_unused, sizes, sizes.dtype.max))
            moves = is_unused & (tf.range(self.num_embeddings, dtype=tf.int64) == least_used)
            sizes = tf.where(moves, 1.0, sizes)
            cluster_sum = tf.where(moves[:, tf.newaxis], worst, cluster_sum)
        total = tf.reduce_sum(sizes)
        smoothed = (sizes + self.epsilon) / (total + self.num_embeddings * self.epsilon) * total
        self.ema_cluster_size.assign(sizes)
        self.ema_cluster_sum.assign(cluster_sum)
        self.embeddings.assign(cluster_sum / smoothed[:, tf.newaxis])


def nearest(inputs: tf.Tensor, embeddings: tf.Tensor) -> tf.Tensor:
    """Index of the nearest of the embeddings [K, D] in L2: [..., D] → [...], int32."""
    flat = tf.reshape(inputs, [-1, inputs.shape[-1]])
    products = tf.matmul(flat, embeddings, transpose_b=True)
    # |x|² is the same for all candidates and left out.
    scores = tf.reduce_sum(tf.square(embeddings), axis=1) - 2.0 * products
    return tf.reshape(tf.argmin(scores, axis=1, output_type=tf.int32), tf.shape(inputs)[:-1])


def embed(codes: tf.Tensor, embeddings: tf.Tensor) -> tf.Tensor:
    """Embedding vectors of grids of codes, grid-major: int [B, 6, 6] → [36, B, D]."""
    cells = tf.transpose(tf.reshape(codes, [-1, NUM_CELLS]))  # integers are cheaper to transpose
    return tf.gather(embeddings, cells)


def perplexity(encoding_indices: tf.Tensor, num_embeddings: int) -> tf.Tensor:
    """exp of the entropy of how often each embedding is used; 1 (collapse) … num_embeddings."""
    indices = tf.reshape(encoding_indices, [-1])
    counts = tf.math.bincount(indices, minlength=num_embeddings, dtype=tf.float32)
    probabilities = counts / tf.reduce_sum(counts)
    return tf.exp(-tf.reduce_sum(tf.math.xlogy(probabilities, probabilities)))
