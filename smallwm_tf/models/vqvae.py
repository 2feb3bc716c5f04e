"""VQ-VAE of observations: encoder, decoder and their loss (section 3.3, Fig. 2).

Shapes: B batch, F stacked frames, D embedding size, K number of embeddings.
"""

import math
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from smallwm_tf.models import initializers
from smallwm_tf.models.continuous_bernoulli import sum_log_prob
from smallwm_tf.models.grid_convolution import (
    NUM_CELLS,
    GridConvolution,
    convolve,
    prepare_kernel,
    to_grid_major,
    to_images,
)
from smallwm_tf.models.grid_normalization import LEAKY_RELU_SLOPE
from smallwm_tf.models.vector_quantizer import VectorQuantizer

SCREEN_SIZE = 96  # pixels, height and width
CHANNELS = 256  # of the 6×6 feature maps
BATCH_NORM_MOMENTUM = 0.9  # PyTorch's 0.1; Keras would use 0.99
BATCH_NORM_EPSILON = 1e-5  # Keras would use 1e-3


def leaky_relu(features: tf.Tensor) -> tf.Tensor:
    """Leaky ReLU with PyTorch's slope."""
    return tf.nn.leaky_relu(features, alpha=LEAKY_RELU_SLOPE)


def _batch_norm() -> tf_keras.layers.BatchNormalization:
    return tf_keras.layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON
    )


def _per_cell(layer: tf_keras.layers.Layer, cells: tf.Tensor, **kwargs) -> tf.Tensor:
    """Applies an image layer that mixes channels only, a 1×1 convolution or a batch norm."""
    images = tf.expand_dims(cells, axis=2)  # [36, B, 1, C]
    return tf.squeeze(layer(images, **kwargs), axis=2)


class ResidualBlock(tf_keras.layers.Layer):
    """3×3, ReLU, 1×1, add, on grid-major tensors [36, B, C].

    Args:
      use_batch_norm: with batch norm and no biases (encoder), or the reverse (decoder).
      convolution: "direct" or "fast", see ``GridConvolution``.
    """

    def __init__(self, use_batch_norm: bool, convolution: str, **kwargs):
        super().__init__(**kwargs)
        use_bias = not use_batch_norm
        self.conv_3x3 = GridConvolution(CHANNELS, 3, convolution, use_bias=use_bias)
        self.conv_1x1 = initializers.conv2d(CHANNELS, 1, CHANNELS, use_bias=use_bias)
        self.norm_3x3 = _batch_norm() if use_batch_norm else None
        self.norm_1x1 = _batch_norm() if use_batch_norm else None

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        features = self.conv_3x3(inputs)
        if self.norm_3x3 is not None:
            features = _per_cell(self.norm_3x3, features, training=training)
        features = _per_cell(self.conv_1x1, tf.nn.relu(features))
        if self.norm_1x1 is not None:
            features = _per_cell(self.norm_1x1, features, training=training)
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

    def __init__(self, num_stacked_frames: int, embedding_dim: int, convolution: str, **kwargs):
        super().__init__(**kwargs)
        channels = [num_stacked_frames, 32, 64, 128, CHANNELS]
        self.form = "direct" if convolution == "direct" else "fewest_kernels"
        self.convolutions = [
            initializers.conv2d(after, 4, before, strides=2, use_bias=False)
            for before, after in zip(channels, channels[1:], strict=False)
        ]
        self.norms = [_batch_norm() for _ in self.convolutions]
        self.residual_blocks = [ResidualBlock(True, convolution) for _ in range(2)]
        self.projection = initializers.conv2d(embedding_dim, 1, CHANNELS, use_bias=False)
        self.projection_norm = _batch_norm()

    def call(self, observations: tf.Tensor, training: bool = False) -> tf.Tensor:
        features = observations
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = leaky_relu(norm(convolution(features), training=training))
        cells = to_grid_major(features)
        for block in self.residual_blocks:
            cells = leaky_relu(block(cells, training=training))
        projected = self.projection(to_images(cells))
        return self.projection_norm(projected, training=training)

    def fold(self, form: str | None = None) -> FoldedEncoder:
        """Weights for ``infer``; they stay valid until the next gradient step.

        Args:
          form: of the 3×3 kernels, see ``prepare_kernel``; the encoder's own if not given.
        """
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
            prepared = Folded(prepare_kernel(kernel, form or self.form), bias)
            return prepared, pointwise(layers.conv_1x1, layers.norm_1x1)

        return FoldedEncoder(
            convolutions=tuple(folded),
            blocks=tuple(block(layers) for layers in self.residual_blocks),
            projection=pointwise(self.projection, self.projection_norm),
        )

    @staticmethod
    def infer(frames: tf.Tensor, folded: FoldedEncoder) -> tf.Tensor:
        """What ``call`` returns at inference, at less cost: uint8 [B, 96, 96, F] → [B, 6, 6, D].

        Args:
          frames: 0…255.
          folded: from ``fold``.
        """
        features = tf.cast(frames, tf.float32)
        for kernel, bias in folded.convolutions:
            features = tf.nn.conv2d(features, kernel, strides=2, padding="SAME")
            features = leaky_relu(tf.nn.bias_add(features, bias))
        cells = to_grid_major(features)
        for three, one in folded.blocks:
            inside = tf.nn.relu(convolve(cells, three.kernel, 3) + three.bias)
            cells = leaky_relu(cells + _pointwise(inside, one))
        return to_images(_pointwise(cells, folded.projection))


def _pointwise(cells: tf.Tensor, folded: Folded) -> tf.Tensor:
    """A folded 1×1 convolution, [36, B, C] → [36, B, C'], as one matrix product."""
    flat = tf.reshape(cells, [-1, cells.shape[-1]])
    mixed = tf.nn.bias_add(tf.matmul(flat, folded.kernel), folded.bias)
    return tf.reshape(mixed, [NUM_CELLS, -1, folded.bias.shape[0]])


class Decoder(tf_keras.Model):
    """Quantised vectors [B, 6, 6, D] → logits of continuous Bernoullis [B, 96, 96, F]."""

    def __init__(self, num_stacked_frames: int, embedding_dim: int, convolution: str, **kwargs):
        super().__init__(**kwargs)
        self.expansion = GridConvolution(CHANNELS, 3, convolution, use_bias=True)
        self.residual_blocks = [ResidualBlock(False, convolution) for _ in range(2)]
        self.deconvolutions = [
            initializers.conv2d_transpose(filters, 4, strides=2)
            for filters in (128, 64, 32, num_stacked_frames)
        ]

    def call(self, quantized: tf.Tensor) -> tf.Tensor:
        cells = leaky_relu(self.expansion(to_grid_major(quantized)))
        for block in self.residual_blocks:
            cells = leaky_relu(block(cells))
        features = to_images(cells)
        for deconvolution in self.deconvolutions[:-1]:
            features = leaky_relu(deconvolution(features))
        return self.deconvolutions[-1](features)


class VQVAELosses(NamedTuple):
    """Scalars of one batch; nats per observation unless said otherwise."""

    reconstruction: tf.Tensor  # −log p(x|z), summed over pixels
    commitment: tf.Tensor  # mean squared distance to the codebook, not yet weighted
    elbo: tf.Tensor  # −reconstruction − kl, a lower bound of log p(x)
    largest_logit: tf.Tensor  # largest |η| of a pixel; without bound, training diverges


class VQVAE(tf_keras.Model):
    """Encoder, vector quantiser and decoder.

    Args:
      num_stacked_frames: F.
      num_embeddings: K.
      embedding_dim: D.
      ema_decay: decay of the codebook's moving averages.
      ema_epsilon: Laplace smoothing of the codebook's cluster sizes.
      restart_below: moves codes that are used less, see ``VectorQuantizer``.
      convolution: "direct" or "fast", see ``GridConvolution``.
      likelihood: "clamped", as in the authors' code, or "exact"; see ``continuous_bernoulli``.
      pixel_margin: δ; pixels are squeezed into [δ, 1 − δ] before the likelihood. With the exact
        likelihood a margin of 0.05 keeps logits within ±20.
    """

    def __init__(
        self,
        num_stacked_frames: int,
        num_embeddings: int,
        embedding_dim: int,
        ema_decay: float,
        ema_epsilon: float,
        convolution: str = "direct",
        likelihood: str = "clamped",
        pixel_margin: float = 0.0,
        restart_below: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.likelihood = likelihood
        self.pixel_margin = pixel_margin
        self.num_stacked_frames = num_stacked_frames
        self.encoder = Encoder(num_stacked_frames, embedding_dim, convolution, name="encoder")
        self.quantizer = VectorQuantizer(
            num_embeddings, embedding_dim, ema_decay, ema_epsilon, restart_below, name="quantizer"
        )
        self.decoder = Decoder(num_stacked_frames, embedding_dim, convolution, name="decoder")
        #: KL from a uniform prior: a constant, 36·ln K nats (section 3.4, "Constant KL Term").
        self.kl_divergence = NUM_CELLS * math.log(num_embeddings)
        self(tf.zeros([1, SCREEN_SIZE, SCREEN_SIZE, num_stacked_frames]))  # builds the weights

    def call(self, observations: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Reconstruction logits [B, 96, 96, F] of observations in [0, 1]."""
        vectors = self.encoder(observations, training=training)
        return self.decoder(self.quantizer(vectors, training=training).quantized)

    def encode(self, observations: tf.Tensor) -> tf.Tensor:
        """Codes of observations, z ~ p(z|x): uint8 [B, 96, 96, F] → int32 [B, 6, 6]."""
        return self.quantizer.nearest(self.encoder.infer(observations, self.encoder.fold()))

    def decode(self, codes: tf.Tensor) -> tfp.distributions.Distribution:
        """p(x|z) of codes [B, 6, 6]: independent over the squeezed pixels [96, 96, F]."""
        return pixel_distribution(self.decoder(self.quantizer.lookup(codes)))

    def squeeze(self, observations: tf.Tensor) -> tf.Tensor:
        """Pixels in [0, 1] → pixels in [δ, 1 − δ], which the likelihood is about."""
        return self.pixel_margin + (1.0 - 2.0 * self.pixel_margin) * observations

    def mean_pixels(self, codes: tf.Tensor) -> tf.Tensor:
        """Means of p(x|z), unsqueezed: codes [B, 6, 6] → pixels in [0, 1], [B, 96, 96, F]."""
        means = (self.decode(codes).mean() - self.pixel_margin) / (1.0 - 2.0 * self.pixel_margin)
        return tf.clip_by_value(means, 0.0, 1.0)

    def losses_of(
        self, observations: tf.Tensor, training: bool, weights: tf.Tensor | float = 1.0
    ) -> tuple[VQVAELosses, tf.Tensor]:
        """Terms of the loss for observations in [0, 1], [B, 96, 96, F], and their codes.

        Args:
          observations: what to encode and decode.
          training: whether batch norm and codebook learn.
          weights: of the pixels, of the observations' shape; 1 gives the likelihood.
        """
        vectors = self.encoder(observations, training=training)
        quantized = self.quantizer(vectors, training=training)
        logits = self.decoder(quantized.quantized)
        pixels = self.squeeze(observations)
        clamped = self.likelihood == "clamped"
        log_prob = sum_log_prob(logits, pixels, weights, clamped=clamped)
        reconstruction = -tf.reduce_mean(log_prob)
        losses = VQVAELosses(
            reconstruction=reconstruction,
            commitment=quantized.commitment_loss,
            elbo=-reconstruction - self.kl_divergence,
            largest_logit=tf.reduce_max(tf.abs(logits)),
        )
        return losses, quantized.encoding_indices


def pixel_distribution(logits: tf.Tensor) -> tfp.distributions.Distribution:
    """Independent continuous Bernoullis over the last three axes of the logits."""
    return tfp.distributions.Independent(
        tfp.distributions.ContinuousBernoulli(logits=logits), reinterpreted_batch_ndims=3
    )


def scale_pixels(frames: tf.Tensor) -> tf.Tensor:
    """uint8 0…255 → float32 in [0, 1]."""
    return tf.cast(frames, tf.float32) / 255.0
