"""The recurrent dynamics network with its two heads (section 3.3, Fig. 3).

One step, from z_t and a_t to the next code and the reward:

    z_t ──embed──┐
    a_t ──planes─┴─ cell 1 ── h1 ⊕ a_t ── cell 2 ── h2 ⊕ a_t = y_t ──┬── latent head ── p(z_{t+1})
                                                                     └── reward head ── p(r_t)

Shapes, grid-major inside: B batch, C channels, D embedding size, K embeddings, M actions.
"""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from smallwm_tf.models import initializers
from smallwm_tf.models.conv_lstm import (
    ConvLSTMCell,
    ConvLSTMState,
    ConvolutionRecorder,
    PreparedKernels,
)
from smallwm_tf.models.grid_convolution import GRID_SIZE, NUM_CELLS
from smallwm_tf.models.grid_normalization import LEAKY_RELU_SLOPE, GridLayerNormalization

NUM_REWARD_CLASSES = 3  # rewards −1, 0, 1 (Eq. 6)
_REWARD_CHANNELS = 32
_REWARD_UNITS = 512


class DynamicsState(NamedTuple):
    """Recurrent state h_t: one entry per cell."""

    cell_1: ConvLSTMState
    cell_2: ConvLSTMState


class DynamicsKernels(NamedTuple):
    """Prepared kernels of both cells."""

    cell_1: PreparedKernels
    cell_2: PreparedKernels


class RewardHead(tf_keras.layers.Layer):
    """g(y): 1×1 convolution, layer norm, dense 512, dense 3; [36, B, C] → [B, 3].

    Args:
      fused: whether XLA compiles the layer norm.
    """

    def __init__(self, fused: bool, **kwargs):
        super().__init__(**kwargs)
        self._fused = fused

    def build(self, input_shape):
        # On grid-major tensors a 1×1 convolution is a dense layer over the channels.
        self.convolution = initializers.dense(_REWARD_CHANNELS, input_shape[-1])
        self.norm = GridLayerNormalization(self._fused)
        flat_size = NUM_CELLS * _REWARD_CHANNELS
        self.hidden = initializers.dense(_REWARD_UNITS, flat_size)
        self.logits = initializers.dense(NUM_REWARD_CLASSES, _REWARD_UNITS)
        self.convolution.build(input_shape)
        self.norm.build([NUM_CELLS, None, _REWARD_CHANNELS])
        self.hidden.build([None, flat_size])
        self.logits.build([None, _REWARD_UNITS])
        super().build(input_shape)

    def call(self, y: tf.Tensor) -> tf.Tensor:
        features = self.norm(self.convolution(y))
        flat = tf.reshape(tf.transpose(features, [1, 0, 2]), [-1, NUM_CELLS * _REWARD_CHANNELS])
        hidden = tf.nn.leaky_relu(self.hidden(flat), alpha=LEAKY_RELU_SLOPE)
        return self.logits(hidden)


class Dynamics(tf_keras.Model):
    """Two ConvLSTM cells, a latent head and a reward head.

    Args:
      num_actions: M.
      num_embeddings: K.
      embedding_dim: D.
      channels: C of both cells.
      convolution: "direct" or "fast", see ``GridConvolution``.
      present_code_logit: added to the latent logit of the code that a cell has now. Most codes
        stay from step to step; with this the network need only learn which ones change.
    """

    def __init__(
        self,
        num_actions: int,
        num_embeddings: int,
        embedding_dim: int,
        channels: int,
        convolution: str,
        present_code_logit: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.present_code_logit = present_code_logit
        self.num_actions = num_actions
        self.channels = channels
        self.convolution = convolution
        self.cell_1 = ConvLSTMCell(channels, convolution, name="cell_1")
        self.cell_2 = ConvLSTMCell(channels, convolution, name="cell_2")
        self.latent_head = initializers.dense(
            num_embeddings, channels + num_actions, name="latent_head"
        )
        self.reward_head = RewardHead(fused=convolution == "fast", name="reward_head")
        y_shape = [NUM_CELLS, None, channels + num_actions]
        self.cell_1.build([NUM_CELLS, None, embedding_dim + num_actions])
        self.cell_2.build(y_shape)
        self.latent_head.build(y_shape)
        self.reward_head.build(y_shape)
        self.built = True

    def prepare(self, form: str | None = None) -> DynamicsKernels:
        """Kernels for ``call``, to be shared by all steps between two gradient steps.

        Args:
          form: see ``GridConvolution.prepare``; "fewest_products" suits many steps.
        """
        return DynamicsKernels(self.cell_1.prepare(form), self.cell_2.prepare(form))

    def initial_state(self, batch_size: int | tf.Tensor) -> DynamicsState:
        """The state before a first step: zeros."""
        return DynamicsState(
            self.cell_1.initial_state(batch_size), self.cell_2.initial_state(batch_size)
        )

    def call(
        self,
        embedded: tf.Tensor,
        actions: tf.Tensor,
        state: DynamicsState,
        kernels: DynamicsKernels | None = None,
        recorder: ConvolutionRecorder | None = None,
    ) -> tuple[tf.Tensor, DynamicsState]:
        """One step of the recurrent dynamics p(h_t | z_t, a_t, h_{t-1}).

        Args:
          embedded: embedding vectors of z_t, [36, B, D].
          actions: a_t, int [B].
          state: h_{t-1}.
          kernels: from ``prepare``.
          recorder: defers kernel gradients, see ``ConvolutionRecorder``.

        Returns:
          y_t, [36, B, C + M], and h_t.
        """
        kernels = self.prepare() if kernels is None else kernels
        one_hot = tf.one_hot(actions, self.num_actions)
        planes = tf.repeat(one_hot[tf.newaxis], NUM_CELLS, axis=0)  # [36, B, M]

        def with_actions(features: tf.Tensor) -> tf.Tensor:
            return tf.concat([features, planes], axis=-1)

        cell_1 = self.cell_1(with_actions(embedded), state.cell_1, kernels.cell_1, recorder)
        cell_2 = self.cell_2(with_actions(cell_1.hidden), state.cell_2, kernels.cell_2, recorder)
        return with_actions(cell_2.hidden), DynamicsState(cell_1, cell_2)

    def latent_logits(self, y: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """f(y) (Eq. 5).

        Args:
          y: [36, B, C + M].
          codes: z_t, int [B, 6, 6].

        Returns:
          Logits of z_{t+1}, [B, 6, 6, K].
        """
        logits = tf.transpose(self.latent_head(y), [1, 0, 2])
        logits = tf.reshape(logits, [-1, GRID_SIZE, GRID_SIZE, logits.shape[-1]])
        if self.present_code_logit:
            logits += self.present_code_logit * tf.one_hot(codes, logits.shape[-1])
        return logits

    def reward_logits(self, y: tf.Tensor) -> tf.Tensor:
        """g(y): [36, B, C + M] → [B, 3] (Eq. 6)."""
        return self.reward_head(y)


def latent_distribution(logits: tf.Tensor) -> tfp.distributions.Distribution:
    """p(z_{t+1} | y_t): independent categoricals over the 36 cells, logits [B, 6, 6, K]."""
    return tfp.distributions.Independent(
        tfp.distributions.Categorical(logits=logits), reinterpreted_batch_ndims=2
    )


def reward_distribution(logits: tf.Tensor) -> tfp.distributions.Categorical:
    """p(r_t | y_t) over the classes 0, 1, 2, that is the rewards −1, 0, 1; logits [B, 3]."""
    return tfp.distributions.Categorical(logits=logits)


def reward_classes(rewards: tf.Tensor) -> tf.Tensor:
    """Raw rewards → classes 0, 1, 2: clipped to [−1, 1] and rounded (section 3.3)."""
    return tf.cast(tf.round(tf.clip_by_value(rewards, -1.0, 1.0)), tf.int32) + 1


def class_rewards(classes: tf.Tensor) -> tf.Tensor:
    """Classes 0, 1, 2 → rewards −1, 0, 1 as float32."""
    return tf.cast(classes, tf.float32) - 1.0


def expected_rewards(logits: tf.Tensor) -> tf.Tensor:
    """Mean of p(r_t | y_t): logits [B, 3] → [B] in [−1, 1]."""
    probabilities = tf.nn.softmax(logits)
    return probabilities[:, 2] - probabilities[:, 0]


class DrawnStep(NamedTuple):
    """One step of a dream, and what it was drawn from; B dreams."""

    codes: tf.Tensor  # z_{t+1}, int32 [B, 6, 6]
    entropies: tf.Tensor  # of its distribution, nats [B, 6, 6]
    rewards: tf.Tensor  # r_t, −1, 0 or 1, float32 [B]
    reward_probabilities: tf.Tensor  # of −1, 0, 1, [B, 3]


def draw_step(
    latent_logits: tf.Tensor,
    reward_logits: tf.Tensor,
    temperature: tf.Tensor | float,
    codes_pair: tf.Tensor,
    reward_pair: tf.Tensor,
) -> DrawnStep:
    """Draws the next code and the reward, with TensorFlow's own operations alone.

    Args:
      latent_logits: [B, 6, 6, K].
      reward_logits: [B, 3].
      temperature: divides the latent logits.
      codes_pair: int32 pair for the codes.
      reward_pair: int32 pair for the rewards.
    """
    logits = latent_logits / temperature
    flat = tf.reshape(logits, [-1, logits.shape[-1]])
    codes = tf.random.stateless_categorical(flat, 1, codes_pair, tf.int32)
    classes = tf.random.stateless_categorical(reward_logits, 1, reward_pair, tf.int32)
    log_probabilities = tf.nn.log_softmax(logits)
    products = tf.math.multiply_no_nan(log_probabilities, tf.exp(log_probabilities))
    return DrawnStep(
        codes=tf.reshape(codes, [-1, GRID_SIZE, GRID_SIZE]),
        entropies=-tf.reduce_sum(products, axis=-1),
        rewards=class_rewards(classes[:, 0]),
        reward_probabilities=tf.nn.softmax(reward_logits),
    )
