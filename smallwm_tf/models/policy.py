"""Policy and state value on a shared trunk (section 3.3, Eq. 7; the value head fits Table 3).

The networks see embedding vectors. As TF-Agents networks they take codes and look the vectors up
in the codebook, which is not theirs to train.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tf_agents.networks import network

from smallwm_tf.models import initializers
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE, NUM_CELLS
from smallwm_tf.models.execution import Execution
from smallwm_tf.models.grid_convolution import GridConvolution
from smallwm_tf.models.grid_normalization import LEAKY_RELU_SLOPE, GridLayerNormalization
from smallwm_tf.models.vector_quantizer import embed

_CHANNELS = 64
_KERNEL_SIZE = 5
_UNITS = 512


class PolicyAndValue(tf_keras.Model):
    """Codes [B, 6, 6] → action logits [B, M] and state value [B].

    It sees the codes' embedding vectors; the codebook is not its to train.

    Args:
      num_actions: M.
      embedding_dim: D.
      execution: how it is computed.
    """

    def __init__(self, num_actions: int, embedding_dim: int, execution: Execution, **kwargs):
        super().__init__(**kwargs)
        self.num_actions = num_actions
        self.compiled = execution.compiled
        # On grid-major tensors a 1×1 convolution is a dense layer over the channels.
        self.conv_1x1 = initializers.dense(_CHANNELS, embedding_dim, use_bias=False)
        self.norm_1x1 = GridLayerNormalization(self.compiled)
        self.conv_5x5 = GridConvolution(_CHANNELS, _KERNEL_SIZE, execution.dreaming_form)
        self.norm_5x5 = GridLayerNormalization(self.compiled)
        self.hidden = initializers.dense(_UNITS, NUM_CELLS * _CHANNELS)
        self.logits = initializers.dense(num_actions, _UNITS, name="logits")
        self.value = initializers.dense(1, _UNITS, name="value")
        no_code = tf.zeros([1, GRID_SIZE, GRID_SIZE], tf.int32)
        self(no_code, tf.zeros([1, embedding_dim]))  # builds the weights

    def prepare(self, form: str | None = None) -> tf.Tensor:
        """The 5×5 kernel for ``call``, see ``GridConvolution.prepare``."""
        return self.conv_5x5.prepare(form)

    def call(
        self,
        codes: tf.Tensor,
        embeddings: tf.Tensor,
        prepared_kernel: tf.Tensor | None = None,
        compiled: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits [B, M] and values [B].

        Args:
          codes: z, int [B, 6, 6].
          embeddings: the codebook [K, D].
          prepared_kernel: of the 5×5 convolution, from ``prepare``.
          compiled: see ``GridLayerNormalization``.
        """
        embedded = tf.stop_gradient(embed(codes, embeddings))  # [36, B, D]
        features = self.norm_1x1(self.conv_1x1(embedded), compiled)
        features = self.norm_5x5(self.conv_5x5(features, prepared_kernel), compiled)
        flat = tf.reshape(tf.transpose(features, [1, 0, 2]), [-1, NUM_CELLS * _CHANNELS])
        hidden = tf.nn.leaky_relu(self.hidden(flat), alpha=LEAKY_RELU_SLOPE)
        return self.logits(hidden), tf.squeeze(self.value(hidden), axis=-1)


class SharedTrunk:
    """Evaluates policy and value once where TF-Agents asks for them one after the other.

    ``PPOAgent`` calls the actor and the value network on the same observation tensor; a second
    call on the identical tensor returns the first one's outputs (with their gradients).

    Args:
      model: the network.
      embeddings: the codebook [K, D].
    """

    def __init__(self, model: PolicyAndValue, embeddings: tf.Variable):
        self.model = model
        self._embeddings = embeddings
        self._evaluate = tf.function(model.__call__, jit_compile=model.compiled, autograph=False)
        self._kernel: tf.Tensor | None = None
        self._last: tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]] | None = None

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Inside this context the 5×5 kernel is transformed once, not at every call."""
        self._kernel = self.model.prepare()
        try:
            yield
        finally:
            self._kernel = None

    def __call__(self, codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Codes [..., 6, 6] → logits [..., M] and values [...]."""
        if not tf.executing_eagerly() and self._last is not None and self._last[0] is codes:
            return self._last[1]
        outer_shape = tf.shape(codes)[:-2]
        flat = tf.reshape(codes, tf.concat([[-1], tf.shape(codes)[-2:]], axis=0))
        embeddings = tf.convert_to_tensor(self._embeddings)
        logits, values = self._evaluate(flat, embeddings, self._kernel)
        logits = tf.reshape(logits, tf.concat([outer_shape, [self.model.num_actions]], axis=0))
        logits = tf.ensure_shape(logits, [*codes.shape[:-2], self.model.num_actions])
        values = tf.ensure_shape(tf.reshape(values, outer_shape), codes.shape[:-2])
        self._last = None if tf.executing_eagerly() else (codes, (logits, values))
        return logits, values


class ActorNetwork(network.Network):
    """p(a | z) as TF-Agents wants it: codes → ``Categorical`` (Eq. 7)."""

    def __init__(self, observation_spec, action_spec, trunk: SharedTrunk):
        super().__init__(input_tensor_spec=observation_spec, state_spec=(), name="actor")
        self.trunk = trunk
        self._model = trunk.model  # tracked by Keras: these are the network's variables
        self._action_dtype = action_spec.dtype

    def call(self, observations, step_type=None, network_state=(), training=False):
        del step_type, training
        logits, _ = self.trunk(observations)
        return tfp.distributions.Categorical(logits, dtype=self._action_dtype), network_state


class ValueNetwork(network.Network):
    """V(z) as TF-Agents wants it: codes → values."""

    def __init__(self, observation_spec, trunk: SharedTrunk):
        super().__init__(input_tensor_spec=observation_spec, state_spec=(), name="value")
        self._trunk = trunk
        self._model = trunk.model

    def call(self, observations, step_type=None, network_state=(), training=False):
        del step_type, training
        _, values = self._trunk(observations)
        return values, network_state
