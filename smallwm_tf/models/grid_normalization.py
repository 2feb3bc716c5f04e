"""Layer normalisation over all channels and cells of the 6×6 grid, in grid-major layout."""

import tensorflow as tf
import tf_keras

from smallwm_tf.models.grid_convolution import NUM_CELLS

EPSILON = 1e-5  # PyTorch's; Keras would use 1e-3 (paper_details, section 7)
LEAKY_RELU_SLOPE = 0.01  # PyTorch's; Keras 2 would use 0.3


def normalize(inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Zero mean and unit variance per batch element of [36, B, C], scale and offset [36, 1, C]."""
    mean = tf.reduce_mean(inputs, axis=[0, 2], keepdims=True)
    centred = inputs - mean
    variance = tf.reduce_mean(tf.square(centred), axis=[0, 2], keepdims=True)
    return centred * tf.math.rsqrt(variance + EPSILON) * scale + offset


def normalize_and_activate(inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """``normalize`` and a leaky ReLU."""
    return tf.nn.leaky_relu(normalize(inputs, scale, offset), alpha=LEAKY_RELU_SLOPE)


# Op by op, every step of the normalisation reads and writes the whole tensor; XLA fuses them.
_compiled_normalize_and_activate = tf.function(normalize_and_activate, jit_compile=True)


class GridLayerNormalization(tf_keras.layers.Layer):
    """Layer norm over (channels, height, width), elementwise affine, leaky ReLU; [36, B, C].

    If it is compiled, XLA makes one pass of it.
    """

    def __init__(self, compiled: bool, **kwargs):
        super().__init__(**kwargs)
        self.compiled = compiled

    def build(self, input_shape):
        shape = [NUM_CELLS, 1, input_shape[-1]]
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones")
        self.offset = self.add_weight(name="offset", shape=shape, initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, compiled: bool | None = None) -> tf.Tensor:
        """``compiled`` overrides the layer's own choice: for a single call it does not pay."""
        scale, offset = (tf.convert_to_tensor(v) for v in (self.scale, self.offset))
        compiled = self.compiled if compiled is None else compiled
        apply = _compiled_normalize_and_activate if compiled else normalize_and_activate
        return apply(inputs, scale, offset)
