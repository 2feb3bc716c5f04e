"""The next codes in a few rounds, the most certain first (MaskGIT, Chang et al., 2022).

A network is told some of the 36 codes and predicts the others, each by itself.

Shapes: B batch, K embeddings, R rounds.
"""

import math

import tensorflow as tf

from smallwm_tf.models.bilinear_algorithms import GRID_SIZE, NUM_CELLS
from smallwm_tf.models.independent_codes import IndependentCodes
from smallwm_tf.models.joint_codes import (
    NUM_LAYERS,
    JointCodeHead,
    JointCodes,
    Weights,
    corrected_logits,
    gumbel_noise,
    neighbours,
    zero_if_cold,
)

_AROUND = range(-1, 2)
NEIGHBOURHOODS = [neighbours([(row, column) for row in _AROUND for column in _AROUND])] * NUM_LAYERS
NUM_ROUNDS = 4
#: How many codes are still unknown after each round: the cosine schedule.
UNKNOWN_AFTER = [
    math.floor(NUM_CELLS * math.cos(0.5 * math.pi * (number + 1) / NUM_ROUNDS))
    for number in range(NUM_ROUNDS)
]
_CHOICE_TEMPERATURE = 4.5  # of which draws to keep in the first round, falling to 0 (MaskGIT's)
_DRAW, _CHOICE = range(2)  # what a random number is for
_HOW_MANY, _WHICH = range(2)


class MaskedCodeHead(JointCodeHead):
    """Draws are not those of ``log_prob``: sharper, since the likelier ones are kept.

    Cells of one round are drawn side by side, too.
    """

    neighbourhoods = NEIGHBOURHOODS
    num_further_embeddings = 1  # K stands for an unknown code

    def draw(
        self,
        codes: JointCodes,
        seed: tf.Tensor,
        temperature: float | tf.Tensor,
        as_loop: bool = True,
    ) -> tf.Tensor:
        batch_size, _, _, num_embeddings = tf.unstack(tf.shape(codes.logits))
        shape = [NUM_ROUNDS, batch_size, NUM_CELLS]
        fold_in, temperature = tf.random.experimental.stateless_fold_in, zero_if_cold(temperature)
        noise = temperature * gumbel_noise([*shape, num_embeddings], fold_in(seed, _DRAW))
        choice = temperature * gumbel_noise(shape, fold_in(seed, _CHOICE))
        compiled = as_loop and self.execution.compiled_steps
        fill = _compiled_fill if compiled else _fill
        return fill(codes.logits, codes.conditions, self.weights_of_codes, noise, choice)

    def log_prob(self, codes: JointCodes, values: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """An unbiased estimate of the mean over all orders of the nats of drawing in that order.

        This mean is a lower bound of the log-probability under the mixture of orders (Hoogeboom et
        al., 2022, "Autoregressive Diffusion Models", Eq. 4). One pass: m from 1 to 36 codes, each
        number as likely, are unknown at random; the sum over them counts 36/m times. The m of a
        batch are spread evenly.

        Args:
          codes: the distribution.
          values: int32 [B, 6, 6].
          seed: an int32 pair, which is needed.
        """
        flat = tf.reshape(values, [-1, NUM_CELLS])
        is_unknown, count = _masks(tf.shape(flat)[0], seed)
        known = tf.where(is_unknown, self.num_embeddings, flat)
        logits = corrected_logits(codes, known, self.weights_of_codes, NEIGHBOURHOODS)
        nats = -tf.nn.sparse_softmax_cross_entropy_with_logits(flat, logits)
        sums = tf.reduce_sum(tf.where(is_unknown, nats, 0.0), axis=1)
        return sums * NUM_CELLS / tf.cast(count, tf.float32)

    def entropy(
        self, codes: JointCodes, values: tf.Tensor, temperature: float | tf.Tensor
    ) -> tf.Tensor:
        """Nats of each cell before any is known, whatever was drawn."""
        unknown = tf.fill([tf.shape(values)[0], NUM_CELLS], self.num_embeddings)
        logits = corrected_logits(codes, unknown, self.weights_of_codes, NEIGHBOURHOODS)
        each = IndependentCodes(tf.reshape(logits, tf.shape(codes.logits)))
        return each.entropy(values, temperature)


def _masks(batch_size: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which codes are unknown, bool [B, 36], and how many, int32 [B]."""
    fold_in = tf.random.experimental.stateless_fold_in
    offset = tf.random.stateless_uniform([], fold_in(seed, _HOW_MANY))
    spread = tf.range(tf.cast(batch_size, tf.float32)) / tf.cast(batch_size, tf.float32)
    share = tf.math.floormod(spread + offset, 1.0)
    count = tf.minimum(tf.cast(NUM_CELLS * share, tf.int32), NUM_CELLS - 1) + 1
    order = tf.random.stateless_uniform([batch_size, NUM_CELLS], fold_in(seed, _WHICH))
    return _rank(order) < count[:, tf.newaxis], count


def _fill(
    logits: tf.Tensor, conditions: tf.Tensor, weights: Weights, noise: tf.Tensor, choice: tf.Tensor
) -> tf.Tensor:
    """Codes int32 [B, 6, 6], from noise on the logits [R, B, 36, K] and on the choice [R, B, 36].

    Each round draws all unknown codes and keeps those of which the network is most certain; what is
    added to that certainty fades.
    """
    codes, unknown = JointCodes(logits, conditions), logits.shape[-1]
    known = tf.fill(tf.shape(choice)[1:], unknown)
    num_unknown = NUM_CELLS
    for number, num_left in enumerate(UNKNOWN_AFTER):
        found = corrected_logits(codes, known, weights, NEIGHBOURHOODS)
        drawn = tf.argmax(found + noise[number], axis=-1, output_type=tf.int32)
        certainty = tf.gather(tf.nn.log_softmax(found), drawn, batch_dims=2)
        fading = _CHOICE_TEMPERATURE * (1.0 - (number + 1) / NUM_ROUNDS)
        certainty += fading * choice[number]
        place = _rank(tf.where(tf.equal(known, unknown), -certainty, math.inf))
        known = tf.where(place < num_unknown - num_left, drawn, known)
        num_unknown = num_left
    return tf.reshape(known, [-1, GRID_SIZE, GRID_SIZE])


def _rank(values: tf.Tensor) -> tf.Tensor:
    """The place of each value among those of its row, from 0 on, the smallest first: int32 [B, 36].

    Of equal ones the earlier is first. All are compared, which XLA does faster than it sorts.
    """
    one, other = values[:, :, tf.newaxis], values[:, tf.newaxis]
    is_earlier = tf.range(NUM_CELLS)[tf.newaxis, :] < tf.range(NUM_CELLS)[:, tf.newaxis]
    is_before = (other < one) | (tf.equal(other, one) & is_earlier)
    return tf.reduce_sum(tf.cast(is_before, tf.int32), axis=2)


_compiled_fill = tf.function(_fill, jit_compile=True, autograph=False)
