"""Policy and state value on a shared trunk (section 3.3, Eq. 7; the value head fits Table 3)."""

import tensorflow as tf
import tf_keras

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
