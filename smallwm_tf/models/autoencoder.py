"""Encoder and decoder of the VQ-VAE (section 3.3, Fig. 2).

Shapes: B batch, F stacked frames, C channels, D embedding size.
"""

from typing import NamedTuple

import tensorflow as tf
import tf_keras

from smallwm_tf.models import initializers
from smallwm_tf.models.execution import DIRECT, Execution
from smallwm_tf.models.grid_convolution import (
    NUM_CELLS,
    GridConvolution,
    convolve,
    prepare_kernel,
    to_grid_major,
    to_images,
)
from smallwm_tf.models.grid_normalization import LEAKY_RELU_SLOPE
from smallwm_tf.models.strided_convolution import double, halve

CHANNELS = 256  # of the 6×6 feature maps
BATCH_NORM_MOMENTUM = 0.9  # PyTorch's 0.1; Keras would use 0.99
BATCH_NORM_EPSILON = 1e-5  # Keras would use 1e-3


def leaky_relu(features: tf.Tensor) -> tf.Tensor:
    """Leaky ReLU with PyTorch's slope."""
    return tf.nn.leaky_relu(features, alpha=LEAKY_RELU_SLOPE)


def _batch_norm(execution: Execution) -> tf_keras.layers.BatchNormalization:
    return tf_keras.layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, dtype=execution.layer_dtype
    )


def _convolve(layer: tf_keras.layers.Conv2D, images: tf.Tensor, form: str) -> tf.Tensor:
    """The layer's convolution in the images' precision, without bias."""
    kernel = tf.cast(layer.kernel, images.dtype)
    if form == "blocks":
        return halve(images, kernel)
    return tf.nn.conv2d(images, kernel, strides=layer.strides, padding="SAME")


def _deconvolve(layer: tf_keras.layers.Conv2DTranspose, images: tf.Tensor, form: str) -> tf.Tensor:
    """The layer's transposed convolution in the images' precision, with bias."""
    kernel = tf.cast(layer.kernel, images.dtype)
    if form == "blocks":
        return _add_bias(double(images, kernel), layer.bias)
    batch_size, height, width, _ = tf.unstack(tf.shape(images))
    shape = [batch_size, 2 * height, 2 * width, layer.filters]
    return _add_bias(tf.nn.conv2d_transpose(images, kernel, shape, layer.strides), layer.bias)


def _add_bias(features: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    # Not BiasAdd: on CPUs the sum in its gradient is in bfloat16 and stops growing at 512.
    return features + tf.cast(bias, features.dtype)


def _mix_channels(layer: tf_keras.layers.Conv2D, cells: tf.Tensor) -> tf.Tensor:
    """The layer's 1×1 convolution on cells [36, B, C] in their precision."""
    kernel = tf.cast(layer.kernel[0, 0], cells.dtype)
    flat = tf.matmul(tf.reshape(cells, [-1, cells.shape[-1]]), kernel)
    mixed = tf.reshape(flat, [NUM_CELLS, -1, layer.filters])
    return _add_bias(mixed, layer.bias) if layer.use_bias else mixed


def _normalize(
    layer: tf_keras.layers.BatchNormalization, cells: tf.Tensor, training: bool
) -> tf.Tensor:
    """The layer's batch norm on cells [36, B, C]."""
    images = tf.expand_dims(cells, axis=2)  # [36, B, 1, C]
    return tf.squeeze(layer(images, training=training), axis=2)


class ResidualBlock(tf_keras.layers.Layer):
    """3×3, ReLU, 1×1, add, on grid-major tensors [36, B, C].

    Args:
      use_batch_norm: with batch norm and no biases (encoder), or the reverse (decoder).
      execution: how it is computed.
    """

    def __init__(self, use_batch_norm: bool, execution: Execution, **kwargs):
        super().__init__(autocast=False, **kwargs)
        use_bias = not use_batch_norm
        self.conv_3x3 = GridConvolution(
            CHANNELS, 3, execution.vqvae_form, use_bias=use_bias, precision=execution.precision
        )
        self.conv_1x1 = initializers.conv2d(CHANNELS, 1, CHANNELS, use_bias=use_bias)
        self.norm_3x3 = _batch_norm(execution) if use_batch_norm else None
        self.norm_1x1 = _batch_norm(execution) if use_batch_norm else None

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        features = self.conv_3x3(inputs)
        if self.norm_3x3 is not None:
            features = _normalize(self.norm_3x3, features, training)
        features = _mix_channels(self.conv_1x1, tf.nn.relu(features))
        if self.norm_1x1 is not None:
            features = _normalize(self.norm_1x1, features, training)
        return inputs + features


class Folded(NamedTuple):
    """Kernel and bias that do at once what a convolution and its batch norm do at inference."""

    kernel: tf.Tensor
    bias: tf.Tensor


def _fold(kernel: tf.Tensor, norm: tf_keras.layers.BatchNormalization) -> Folded:
    scale = norm.gamma * tf.math.rsqrt(norm.moving_variance + norm.epsilon)
    return Folded(kernel * scale, norm.beta - norm.moving_mean * scale)


class FoldedEncoder(NamedTuple):
    """The encoder's weights for inference, batch norm and pixel scaling folded in."""

    convolutions: tuple[Folded, ...]
    blocks: tuple[tuple[Folded, Folded], ...]  # prepared 3×3 kernel, 1×1 kernel [C, C]
    projection: Folded  # [C, D]


class Encoder(tf_keras.Model):
    """Observations [B, 96, 96, F] in [0, 1] → vectors to quantise [B, 6, 6, D]."""

    def __init__(self, num_stacked_frames: int, embedding_dim: int, execution: Execution, **kwargs):
        super().__init__(**kwargs)
        channels = [num_stacked_frames, 32, 64, 128, CHANNELS]
        self._execution = execution
        self.convolutions = [
            initializers.conv2d(after, 4, before, strides=2, use_bias=False)
            for before, after in zip(channels, channels[1:], strict=False)
        ]
        self.norms = [_batch_norm(execution) for _ in self.convolutions]
        self.residual_blocks = [ResidualBlock(True, execution) for _ in range(2)]
        self.projection = initializers.conv2d(embedding_dim, 1, CHANNELS, use_bias=False)
        self.projection_norm = _batch_norm(DIRECT)

    def call(self, observations: tf.Tensor, training: bool = False) -> tf.Tensor:
        features = tf.cast(observations, self._execution.precision)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            convolved = _convolve(convolution, features, self._execution.strided_form)
            features = leaky_relu(norm(convolved, training=training))
        cells = to_grid_major(features)
        for block in self.residual_blocks:
            cells = leaky_relu(block(cells, training=training))
        projected = _mix_channels(self.projection, tf.cast(cells, tf.float32))
        return self.projection_norm(to_images(projected), training=training)

    def fold(self, execution: Execution | None = None) -> FoldedEncoder:
        """Weights for ``infer``; they stay valid until the next gradient step.

        Args:
          execution: form of the 3×3 kernels, and precision; the encoder's own if not given.
        """
        execution = execution or self._execution
        folded = [
            _fold(layer.kernel, norm)
            for layer, norm in zip(self.convolutions, self.norms, strict=True)
        ]
        folded[0] = Folded(folded[0].kernel / 255.0, folded[0].bias)

        def pointwise(layer, norm) -> Folded:
            kernel, bias = _fold(layer.kernel, norm)
            return Folded(kernel[0, 0], bias)

        def block(layers: ResidualBlock) -> tuple[Folded, Folded]:
            kernel, bias = _fold(layers.conv_3x3.kernel, layers.norm_3x3)
            prepared = Folded(prepare_kernel(kernel, execution.vqvae_form), bias)
            return prepared, pointwise(layers.conv_1x1, layers.norm_1x1)

        convolutions, blocks = tf.nest.map_structure(
            lambda tensor: tf.cast(tensor, execution.precision),
            (tuple(folded), tuple(block(layers) for layers in self.residual_blocks)),
        )
        projection = pointwise(self.projection, self.projection_norm)  # in float32: codes compare
        return FoldedEncoder(convolutions, blocks, projection)

    @staticmethod
    def infer(frames: tf.Tensor, folded: FoldedEncoder) -> tf.Tensor:
        """What ``call`` returns at inference, at less cost: uint8 [B, 96, 96, F] → [B, 6, 6, D].

        Args:
          frames: 0…255.
          folded: from ``fold``.
        """
        features = tf.cast(frames, folded.convolutions[0].kernel.dtype)  # bfloat16 holds 0…255
        for kernel, bias in folded.convolutions:
            features = tf.nn.conv2d(features, kernel, strides=2, padding="SAME")
            features = leaky_relu(tf.nn.bias_add(features, bias))
        cells = to_grid_major(features)
        for three, one in folded.blocks:
            inside = tf.nn.relu(convolve(cells, three.kernel, 3) + three.bias)
            cells = leaky_relu(cells + _pointwise(inside, one))
        return to_images(_pointwise(tf.cast(cells, tf.float32), folded.projection))


def _pointwise(cells: tf.Tensor, folded: Folded) -> tf.Tensor:
    """A folded 1×1 convolution, [36, B, C] → [36, B, C'], as one matrix product."""
    flat = tf.reshape(cells, [-1, cells.shape[-1]])
    mixed = tf.nn.bias_add(tf.matmul(flat, folded.kernel), folded.bias)
    return tf.reshape(mixed, [NUM_CELLS, -1, folded.bias.shape[0]])


class Decoder(tf_keras.Model):
    """Quantised vectors [B, 6, 6, D] → logits of continuous Bernoullis [B, 96, 96, F]."""

    def __init__(self, num_stacked_frames: int, embedding_dim: int, execution: Execution, **kwargs):
        super().__init__(**kwargs)
        channels = [CHANNELS, 128, 64, 32, num_stacked_frames]
        self._precision, self._strided_form = execution.precision, execution.strided_form
        self.expansion = GridConvolution(
            CHANNELS, 3, execution.vqvae_form, use_bias=True, precision=execution.precision
        )
        self.residual_blocks = [ResidualBlock(False, execution) for _ in range(2)]
        self.deconvolutions = [
            initializers.conv2d(after, 4, before, strides=2, transposed=True)
            for before, after in zip(channels, channels[1:], strict=False)
        ]

    def call(self, quantized: tf.Tensor) -> tf.Tensor:
        vectors = tf.cast(to_grid_major(quantized), self._precision)
        cells = leaky_relu(self.expansion(vectors))
        for block in self.residual_blocks:
            cells = leaky_relu(block(cells))
        features = to_images(cells)
        for deconvolution in self.deconvolutions[:-1]:
            features = leaky_relu(_deconvolve(deconvolution, features, self._strided_form))
        logits = _deconvolve(self.deconvolutions[-1], features, self._strided_form)
        return tf.cast(logits, tf.float32)
