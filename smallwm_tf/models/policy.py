"""Policy and state value on a shared trunk (section 3.3, Eq. 7; the value head fits Table 3)."""

import functools
import math
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from smallwm_tf.models import initializers
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE, NUM_CELLS
from smallwm_tf.models.execution import Execution
from smallwm_tf.models.grid_convolution import GridConvolution, prepare_kernel, to_grid_major
from smallwm_tf.models.grid_normalization import LEAKY_RELU_SLOPE, GridLayerNormalization
from smallwm_tf.models.vector_quantizer import embed

_CHANNELS = 64
_KERNEL_SIZE = 5
_UNITS = 512


NO_ACTION = -1  #: the last action of an episode that begins


class PolicyObservation(NamedTuple):
    """What a policy sees that sees more than codes; an empty tuple stands for what it does not."""

    codes: tf.Tensor  # int [..., 6, 6]
    last_actions: Any = ()  # int32 [...], ``NO_ACTION`` where there is none
    hidden: Any = ()  # h_{t−1} of the world model, [..., 6, 6, C]; see ``RecurrentStack.visible``


class PreparedKernels(NamedTuple):
    """The two large kernels as ``PolicyAndValue.call`` wants them."""

    conv_5x5: tf.Tensor  # see ``GridConvolution.prepare``
    hidden: tf.Tensor  # [36·64, 512]


class PolicyAndValue(tf_keras.Model):
    """Codes [B, 6, 6] → action logits [B, M] and state value [B].

    It sees the codes' embedding vectors; the codebook is not its to train. With a repeat
    probability it sees its last action, too (not in the paper): each adds to the inputs of the
    hidden units, and logits of its own, which begin as those of a policy that repeats it by that
    chance and draws evenly otherwise. With state channels it is p(a_t | z_t, h_{t−1}) of Eq. 4:
    h goes through a 1×1 convolution of its own, without a bias, added to that of the codes; the
    world model is not its to train either.

    Args:
      num_actions: M.
      embedding_dim: D.
      execution: how it is computed.
      repeat_probability: 0 for a policy that does not see its last action.
      state_channels: C; 0 for a policy that does not see the recurrent state.
    """

    def __init__(
        self,
        num_actions: int,
        embedding_dim: int,
        execution: Execution,
        repeat_probability: float = 0.0,
        state_channels: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        given = (num_actions, embedding_dim, execution, repeat_probability, state_channels)
        self._another = functools.partial(PolicyAndValue, *given)
        self.num_actions = num_actions
        self.sees_last_action = repeat_probability > 0.0
        self.sees_state = state_channels > 0
        self.execution = execution
        self.compiled = execution.compiled_steps  #: whether XLA should compile all of a call
        # TF-Agents sorts gradients by name, which decides how their global norm is rounded.
        dense, form = initializers.dense, execution.dreaming_form
        self.conv_1x1 = dense(_CHANNELS, embedding_dim, name="conv_1x1", use_bias=False)
        self.norm_1x1 = GridLayerNormalization(execution.compiled, name="norm_1x1")
        self.conv_5x5 = GridConvolution(_CHANNELS, _KERNEL_SIZE, form, name="conv_5x5")
        self.norm_5x5 = GridLayerNormalization(execution.compiled, name="norm_5x5")
        self.hidden = dense(_UNITS, NUM_CELLS * _CHANNELS, name="hidden")
        self.logits = dense(num_actions, _UNITS, name="logits")
        self.value = dense(1, _UNITS, name="value")
        with tf.name_scope(self.conv_5x5.name):
            self.conv_5x5.build([NUM_CELLS, None, _CHANNELS])
        if self.sees_last_action:
            stays = math.log1p(num_actions * repeat_probability / (1.0 - repeat_probability))
            repeating = tf_keras.initializers.Identity(stays)
            given = {"in_features": num_actions, "use_bias": False}
            self.after_action = dense(num_actions, kernel=repeating, name="after_action", **given)
            # Alone, logits so large would take PPO's small steps a whole run to unlearn.
            self.last_action = dense(_UNITS, name="last_action", **given)
        if self.sees_state:
            self.state_1x1 = dense(_CHANNELS, state_channels, name="state_1x1", use_bias=False)
        no_code = tf.zeros([1, GRID_SIZE, GRID_SIZE], tf.int32)
        self(no_code, tf.zeros([1, embedding_dim]))  # builds the weights

    def copy(self) -> "PolicyAndValue":
        """One with the weights of the moment, which this one's training does not change."""
        copied = self._another()
        copied.set_weights(self.get_weights())
        return copied

    def prepare(self, execution: Execution | None = None) -> PreparedKernels:
        """The large kernels for ``call``; they stay valid until the next gradient step.

        Args:
          execution: form and precision; the network's own if not given.
        """
        execution = execution or self.execution
        precision = execution.precision
        return PreparedKernels(
            prepare_kernel(self.conv_5x5.kernel, execution.dreaming_form, precision),
            tf.cast(self.hidden.kernel, precision),
        )

    def call(
        self,
        observation: tf.Tensor | PolicyObservation,
        embeddings: tf.Tensor,
        prepared: PreparedKernels | None = None,
        compiled: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits [B, M] and values [B].

        Args:
          observation: codes z, int [B, 6, 6], alone or with more; what the policy does not see
            counts for nothing, what is missing is that of an episode's beginning.
          embeddings: the codebook [K, D].
          prepared: from ``prepare``; made here if not given.
          compiled: see ``GridLayerNormalization``.
        """
        is_more = isinstance(observation, PolicyObservation)
        seen = observation if is_more else PolicyObservation(observation)
        prepared = self.prepare() if prepared is None else prepared
        embedded = tf.stop_gradient(embed(seen.codes, embeddings))  # [36, B, D]
        features = self.conv_1x1(embedded)
        if self.sees_state and tf.is_tensor(seen.hidden):
            features += self.state_1x1(tf.stop_gradient(to_grid_major(seen.hidden)))
        features = self.norm_1x1(features, compiled)
        features = self.norm_5x5(self.conv_5x5(features, prepared.conv_5x5), compiled)
        flat = tf.reshape(tf.transpose(features, [1, 0, 2]), [-1, NUM_CELLS * _CHANNELS])
        products = tf.matmul(tf.cast(flat, prepared.hidden.dtype), prepared.hidden)
        summed = tf.cast(products, tf.float32) + self.hidden.bias
        is_told = self.sees_last_action and tf.is_tensor(seen.last_actions)
        last = tf.one_hot(seen.last_actions, self.num_actions) if is_told else None
        if is_told:
            summed += self.last_action(last)
        hidden = tf.nn.leaky_relu(summed, alpha=LEAKY_RELU_SLOPE)
        logits = self.logits(hidden)
        if is_told:
            logits += self.after_action(last)
        return logits, tf.squeeze(self.value(hidden), axis=-1)


def draw_actions(
    logits: tf.Tensor, temperature: float, seed: tf.Tensor, step: tf.Tensor | int
) -> tf.Tensor:
    """Actions int32 [B] of logits [B, M]; a temperature of 0 takes the most probable ones.

    The step is folded into the seed, an int32 pair.
    """
    if temperature == 0.0:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)
    pair = tf.random.experimental.stateless_fold_in(seed, step)
    return tfp.distributions.Categorical(logits / temperature).sample(seed=pair)
