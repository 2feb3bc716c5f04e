"""Event heads: what a transition pays (Eq. 6), and whether it costs a life or ends the episode.

Shapes: B batch, C channels of the cells, M actions.
"""

import math
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from smallwm_tf.models import initializers
from smallwm_tf.models.autoencoder import leaky_relu
from smallwm_tf.models.grid_convolution import NUM_CELLS
from smallwm_tf.models.grid_normalization import EPSILON, GridLayerNormalization

NUM_REWARD_CLASSES = 3  # rewards −1, 0, 1
_CHANNELS = 32
_UNITS = 512
_RECOGNITION_CHANNELS, _RECOGNITION_UNITS, _RECOGNITION_DROPOUT = 64, 128, 0.5


def reward_classes(rewards: tf.Tensor) -> tf.Tensor:
    """Raw rewards → classes 0, 1, 2: clipped to [−1, 1] and rounded (section 3.3)."""
    return tf.cast(tf.round(tf.clip_by_value(rewards, -1.0, 1.0)), tf.int32) + 1


def class_rewards(classes: tf.Tensor) -> tf.Tensor:
    """Classes 0, 1, 2 → rewards −1, 0, 1 as float32."""
    return tf.cast(classes, tf.float32) - 1.0


class Transition(NamedTuple):
    """What an event head may look at; the next codes are drawn afterwards, given the event."""

    y: tf.Tensor  # y_t, [36, B, C + M]
    codes: tf.Tensor  # z_t, int32 [B, 6, 6]
    actions: tf.Tensor  # a_t, int32 [B]


class RewardDistribution(NamedTuple):
    """p(r_t) over the rewards −1, 0, 1."""

    logits: tf.Tensor  # [B, 3]

    def log_prob(self, classes: tf.Tensor) -> tf.Tensor:
        """Nats: classes int [B] → [B]."""
        return self._distribution().log_prob(classes)

    def sample(self, seed: tf.Tensor) -> tf.Tensor:
        """Rewards [B] from an int32 pair."""
        return class_rewards(self._distribution().sample(seed=seed))

    def mode(self) -> tf.Tensor:
        """The most probable rewards, [B]."""
        return class_rewards(tf.argmax(self.logits, axis=-1, output_type=tf.int32))

    def mean(self) -> tf.Tensor:
        """Expected rewards, [B] in [−1, 1]."""
        probabilities = self.probabilities()
        return probabilities[:, 2] - probabilities[:, 0]

    def probabilities(self) -> tf.Tensor:
        """Of −1, 0 and 1, [B, 3]."""
        return tf.nn.softmax(self.logits)

    def _distribution(self) -> tfp.distributions.Categorical:
        return tfp.distributions.Categorical(logits=self.logits)


class EndDistribution(NamedTuple):
    """Whether a transition costs a life or ends the episode."""

    logits: tf.Tensor  # [B]

    def log_prob(self, ends: tf.Tensor) -> tf.Tensor:
        """Nats: bool [B] → [B]."""
        labels = tf.cast(ends, tf.float32)
        return -tf.nn.sigmoid_cross_entropy_with_logits(labels, self.logits)

    def probability(self) -> tf.Tensor:
        """Of an end, [B]."""
        return tf.sigmoid(self.logits)


class Events(NamedTuple):
    """What a transition brings besides the next codes."""

    rewards: RewardDistribution
    ends: EndDistribution | None  # None: the world model does not predict them
    disagreement: tf.Tensor | None = None  # of what comes next, nats [B]; None: not asked for


class RecognitionHead(tf_keras.layers.Layer):
    """p(r_t | z_t, a_t, z_{t+1}) of a real transition, from its two grids of embedding vectors.

    A reward is an event of a transition; trained with this head's loss the encoder keeps it. Cells
    are compared before they are mixed: (z, z', |z' − z|), 1×1 and 3×3 convolution, then two dense
    layers, with half of their inputs left out in training.

    Args:
      num_actions: M.
      embedding_dim: D.
    """

    def __init__(self, num_actions: int, embedding_dim: int, **kwargs):
        super().__init__(**kwargs)
        self.num_actions = num_actions
        channels, units = _RECOGNITION_CHANNELS, _RECOGNITION_UNITS
        self.conv_1x1 = initializers.dense(channels, 3 * embedding_dim)
        self.conv_3x3 = initializers.conv2d(channels, 3, channels)
        self.norm = tf_keras.layers.LayerNormalization(epsilon=EPSILON)
        self.hidden = initializers.dense(units, NUM_CELLS * channels + num_actions)
        self.logits = initializers.dense(NUM_REWARD_CLASSES, units)
        self.norm.build([None, None, None, channels])
        self.built = True

    def distribution(
        self,
        vectors: tf.Tensor,
        next_vectors: tf.Tensor,
        actions: tf.Tensor,
        training_seed: tf.Tensor | None = None,
    ) -> RewardDistribution:
        """Of embedding vectors [B, 6, 6, D] twice and actions int [B].

        A seed, an int32 pair, is for dropout in training.
        """
        cells = tf.concat([vectors, next_vectors, tf.abs(next_vectors - vectors)], axis=-1)
        cells = leaky_relu(self.conv_1x1(cells))
        cells = leaky_relu(self.norm(self.conv_3x3(cells)))
        flat = tf.reshape(cells, [-1, math.prod(cells.shape[1:])])
        flat = drop_units(flat, _RECOGNITION_DROPOUT, training_seed, 0)
        features = tf.concat([flat, tf.one_hot(actions, self.num_actions)], axis=-1)
        hidden = leaky_relu(self.hidden(features))
        return RewardDistribution(
            self.logits(drop_units(hidden, _RECOGNITION_DROPOUT, training_seed, 1))
        )


def drop_units(values: tf.Tensor, share: float, seed: tf.Tensor | None, layer: int) -> tf.Tensor:
    """Dropout of a layer's inputs, where there is a seed."""
    if seed is None or not share:
        return values
    pair = tf.random.experimental.stateless_fold_in(seed, layer)
    return tf.nn.experimental.stateless_dropout(values, share, pair)


class _DenseHead(tf_keras.layers.Layer):
    """g(y): 1×1 convolution, layer norm, dense 512, dense. Looks at y_t alone, as in the paper.

    Args:
      num_logits: size of the output.
      num_channels: C + M, of y.
      compiled: whether XLA compiles the layer norm.
      dropout: share of the dense layers' inputs that training leaves out.
    """

    def __init__(
        self, num_logits: int, num_channels: int, compiled: bool, dropout: float = 0.0, **kwargs
    ):
        super().__init__(**kwargs)
        self._dropout = dropout
        flat_size = NUM_CELLS * _CHANNELS
        self.convolution = initializers.dense(_CHANNELS, num_channels)
        self.norm = GridLayerNormalization(compiled)
        self.hidden = initializers.dense(_UNITS, flat_size)
        self.logits = initializers.dense(num_logits, _UNITS)
        self.norm.build([NUM_CELLS, None, _CHANNELS])
        self.built = True

    def evaluate(self, transition: Transition, training_seed: tf.Tensor | None) -> tf.Tensor:
        """Logits [B, num_logits]; a seed, an int32 pair, is for dropout in training."""
        features = self.norm(self.convolution(transition.y))
        flat = tf.reshape(tf.transpose(features, [1, 0, 2]), [-1, NUM_CELLS * _CHANNELS])
        hidden = leaky_relu(self.hidden(drop_units(flat, self._dropout, training_seed, 0)))
        return self.logits(drop_units(hidden, self._dropout, training_seed, 1))


class RewardHead(_DenseHead):
    """p(r_t | y_t); see ``_DenseHead`` for the arguments."""

    def __init__(self, *sizes, **kwargs):
        super().__init__(NUM_REWARD_CLASSES, *sizes, **kwargs)

    def distribution(
        self, transition: Transition, training_seed: tf.Tensor | None = None
    ) -> RewardDistribution:
        """Of a transition; for the seed see ``evaluate``."""
        return RewardDistribution(self.evaluate(transition, training_seed))


class EndHead(_DenseHead):
    """The chance given y_t that the episode ends or a life is lost; arguments as ``_DenseHead``."""

    def __init__(self, *sizes, **kwargs):
        super().__init__(1, *sizes, **kwargs)

    def distribution(
        self, transition: Transition, training_seed: tf.Tensor | None = None
    ) -> EndDistribution:
        """Of a transition; for the seed see ``evaluate``."""
        return EndDistribution(self.evaluate(transition, training_seed)[:, 0])
