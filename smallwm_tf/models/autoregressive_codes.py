"""The 36 next codes one after the other, row by row, as a gated PixelCNN draws pixels.

    p(z_{t+1} | y_t, r_t) = ∏_i p(z_i | z_0 … z_{i-1}, y_t, r_t)

Shapes: B batch, K embeddings.
"""

import tensorflow as tf

from smallwm_tf.models.bilinear_algorithms import GRID_SIZE, NUM_CELLS
from smallwm_tf.models.independent_codes import IndependentCodes
from smallwm_tf.models.joint_codes import (
    NUM_LAYERS,
    JointCodeHead,
    JointCodes,
    Weights,
    corrected_logits,
    gated,
    gumbel_noise,
    neighbours,
    zero_if_cold,
)

_REACH = range(1 - GRID_SIZE, GRID_SIZE)
# The first layer sees codes before a cell: all of the row above and all to the left. The later ones
# see the features of the cell itself, too, which know no more. Without a blind spot a cell depends
# on its row and three rows above.
_FIRST = neighbours([*((-1, column) for column in _REACH), *((0, column) for column in _REACH[:5])])
_LATER = neighbours([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0)])
NEIGHBOURHOODS = (_FIRST, *[_LATER] * (NUM_LAYERS - 1))


class AutoregressiveCodeHead(JointCodeHead):
    """``log_prob`` is exact, in one pass; ``sample`` goes through the cells in a loop."""

    neighbourhoods = NEIGHBOURHOODS

    def draw(
        self,
        codes: JointCodes,
        seed: tf.Tensor,
        temperature: float | tf.Tensor,
        as_loop: bool = True,
    ) -> tf.Tensor:
        batch_size, _, _, num_embeddings = tf.unstack(tf.shape(codes.logits))
        noise = gumbel_noise([NUM_CELLS, batch_size, num_embeddings], seed)
        noise *= zero_if_cold(temperature)
        compiled = as_loop and self.execution.compiled_steps
        fill = _compiled_fill if compiled else _fill
        return fill(codes.logits, codes.conditions, self.weights_of_codes, noise, as_loop)

    def log_prob(self, codes: JointCodes, values: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        return self._given(codes, values).log_prob(values)

    def entropy(
        self, codes: JointCodes, values: tf.Tensor, temperature: float | tf.Tensor
    ) -> tf.Tensor:
        """Nats of each cell given the values before it."""
        return self._given(codes, values).entropy(values, temperature)

    def _given(self, codes: JointCodes, values: tf.Tensor) -> IndependentCodes:
        """The distribution of each cell given the values before it."""
        flat = tf.reshape(values, [-1, NUM_CELLS])
        logits = corrected_logits(codes, flat, self.weights_of_codes, NEIGHBOURHOODS)
        return IndependentCodes(tf.reshape(logits, tf.shape(codes.logits)))


def _fill(
    logits: tf.Tensor, conditions: tf.Tensor, weights: Weights, noise: tf.Tensor, as_loop: bool
) -> tf.Tensor:
    """Codes int32 [B, 6, 6]: of each cell that with the largest sum of logit and noise [36, B, K].

    Features of every cell are computed once and kept.
    """
    batch_size, num_embeddings = tf.shape(logits)[0], logits.shape[-1]
    logits, conditions = (
        tf.transpose(tf.reshape(tensor, [-1, NUM_CELLS, tensor.shape[-1]]), [1, 0, 2])
        for tensor in (logits, conditions)
    )
    noisy = tf.ensure_shape(logits + noise, [NUM_CELLS, None, num_embeddings])
    tables = [tf.constant(table) for table in NEIGHBOURHOODS]
    kept = [
        tf.zeros([NUM_CELLS + 1, batch_size, kernel.shape[1]]) for kernel in weights.kernels
    ]  # inputs of the layers; the last place stays empty

    def put(tensor: tf.Tensor, cell: int | tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        return tf.tensor_scatter_nd_update(tensor, [[cell]], value[tf.newaxis])

    def step(cell: int | tf.Tensor, codes: tf.Tensor, kept: list[tf.Tensor]) -> tuple:
        kept, features = list(kept), tf.zeros([])
        for layer, (kernel, table) in enumerate(zip(weights.kernels, tables, strict=True)):
            if layer:
                kept[layer] = put(kept[layer], cell, features)
            near = tf.transpose(tf.gather(kept[layer], table[cell]), [1, 0, 2])  # [B, N, E]
            near = tf.reshape(near, [-1, kernel.shape[0] * kernel.shape[1]])
            features = gated(layer, near, conditions[cell], kernel, features)
        scores = noisy[cell] + tf.matmul(features, weights.correction)
        drawn = tf.argmax(scores, axis=-1, output_type=tf.int32)
        kept[0] = put(kept[0], cell, tf.gather(weights.embeddings, drawn))
        return cell + 1, put(codes, cell, drawn), kept

    state = (0, tf.zeros([NUM_CELLS, batch_size], tf.int32), kept)
    if as_loop:
        state = tf.while_loop(lambda cell, *_: cell < NUM_CELLS, step, state, parallel_iterations=1)
    else:
        for _ in range(NUM_CELLS):
            state = step(*state)
    return tf.reshape(tf.transpose(state[1]), [-1, GRID_SIZE, GRID_SIZE])


_compiled_fill = tf.function(_fill, jit_compile=True, autograph=False)
