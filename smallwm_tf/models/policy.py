"""Policy and state value on a shared trunk (section 3.3, Eq. 7; the value head fits Table 3).

The networks see embedding vectors. As TF-Agents networks they take codes and look the vectors up
in the codebook, which is not theirs to train.
"""

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tf_agents.networks import network

from smallwm_tf.models import initializers
from smallwm_tf.models.grid_convolution import NUM_CELLS, GridConvolution, to_grid_major
from smallwm_tf.models.grid_normalization import LEAKY_RELU_SLOPE, GridLayerNormalization

_CHANNELS = 64
_KERNEL_SIZE = 5
_UNITS = 512


class PolicyAndValue(tf_keras.Model):
    """Embedding vectors [36, B, D] → action logits [B, M] and state value [B].

    Args:
      num_actions: M.
      embedding_dim: D.
      convolution: "direct" or "fast", see ``GridConvolution``.
    """

    def __init__(self, num_actions: int, embedding_dim: int, convolution: str, **kwargs):
        super().__init__(**kwargs)
        self.num_actions = num_actions
        # On grid-major tensors a 1×1 convolution is a dense layer over the channels.
        self.conv_1x1 = initializers.dense(_CHANNELS, embedding_dim, use_bias=False)
        self.is_fast = fused = convolution == "fast"
        self.norm_1x1 = GridLayerNormalization(fused)
        self.conv_5x5 = GridConvolution(
            _CHANNELS, _KERNEL_SIZE, convolution, form="fewest_products"
        )
        self.norm_5x5 = GridLayerNormalization(fused)
        self.hidden = initializers.dense(_UNITS, NUM_CELLS * _CHANNELS)
        self.logits = initializers.dense(num_actions, _UNITS, name="logits")
        self.value = initializers.dense(1, _UNITS, name="value")
        self(tf.zeros([NUM_CELLS, 1, embedding_dim]))  # builds the weights

    def prepare(self, form: str | None = None) -> tf.Tensor:
        """The 5×5 kernel for ``call``, see ``GridConvolution.prepare``."""
        return self.conv_5x5.prepare(form)

    def call(
        self,
        embedded: tf.Tensor,
        prepared_kernel: tf.Tensor | None = None,
        fused: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits [B, M] and values [B].

        Args:
          embedded: [36, B, D].
          prepared_kernel: of the 5×5 convolution, from ``prepare``.
          fused: see ``GridLayerNormalization``.
        """
        features = self.norm_1x1(self.conv_1x1(embedded), fused)
        features = self.norm_5x5(self.conv_5x5(features, prepared_kernel), fused)
        flat = tf.reshape(tf.transpose(features, [1, 0, 2]), [-1, NUM_CELLS * _CHANNELS])
        hidden = tf.nn.leaky_relu(self.hidden(flat), alpha=LEAKY_RELU_SLOPE)
        return self.logits(hidden), tf.squeeze(self.value(hidden), axis=-1)


class SharedTrunk:
    """Evaluates policy and value once where TF-Agents asks for them one after the other.

    ``PPOAgent`` calls the actor and the value network on the same observation tensor; a second
    call on the identical tensor returns the first one's outputs (with their gradients).

    Args:
      model: the network.
      lookup: codes [B, 6, 6] → embedding vectors [B, 6, 6, D].
    """

    def __init__(self, model: PolicyAndValue, lookup: Callable[[tf.Tensor], tf.Tensor]):
        self.model = model
        self._lookup = lookup
        self._evaluate = tf.function(model.__call__, jit_compile=model.is_fast, autograph=False)
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
        embedded = tf.stop_gradient(to_grid_major(self._lookup(flat)))
        logits, values = self._evaluate(embedded, self._kernel)
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
