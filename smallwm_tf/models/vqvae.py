"""The VQ-VAE of observations and its loss (section 3.3, Fig. 2).

Shapes: B batch, F stacked frames, D embedding size, K number of embeddings.
"""

import math
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from smallwm_tf.experiment.settings import FRAME_SIZE, Config
from smallwm_tf.models.autoencoder import Decoder, Encoder
from smallwm_tf.models.continuous_bernoulli import sum_log_prob
from smallwm_tf.models.execution import DIRECT, Execution
from smallwm_tf.models.grid_convolution import NUM_CELLS
from smallwm_tf.models.vector_quantizer import Quantized, VectorQuantizer


class VQVAELosses(NamedTuple):
    """Scalars of one batch; nats per observation unless said otherwise."""

    reconstruction: tf.Tensor  # −log p(x|z), summed over pixels
    commitment: tf.Tensor  # mean squared distance to the codebook, not yet weighted
    elbo: tf.Tensor  # −reconstruction − kl, a lower bound of log p(x)
    largest_logit: tf.Tensor  # largest |η| of a pixel; without bound, training diverges


class VQVAE(tf_keras.Model):
    """Encoder, vector quantiser and decoder.

    Args:
      config: the run's; reads ``game.num_stacked_frames`` and ``vqvae``.
      execution: how it is computed.

    Attributes:
      likelihood: "clamped", as in the authors' code, or "exact"; see ``continuous_bernoulli``.
      pixel_margin: δ; pixels are squeezed into [δ, 1 − δ] before the likelihood. With the exact
        likelihood a margin of 0.05 keeps logits within ±20.
    """

    def __init__(self, config: Config, execution: Execution = DIRECT, **kwargs):
        super().__init__(**kwargs)
        settings = config.vqvae
        self.likelihood, self.pixel_margin = settings.likelihood, settings.pixel_margin
        self.num_stacked_frames = config.game.num_stacked_frames
        sizes = (self.num_stacked_frames, settings.embedding_dim, execution)
        self.encoder = Encoder(*sizes, name="encoder")
        self.quantizer = VectorQuantizer(
            settings.num_embeddings,
            settings.embedding_dim,
            settings.ema_decay,
            settings.ema_epsilon,
            settings.restart_below,
            name="quantizer",
        )
        self.decoder = Decoder(*sizes, name="decoder")
        #: KL from a uniform prior: a constant, 36·ln K nats (section 3.4, "Constant KL Term").
        self.kl_divergence = NUM_CELLS * math.log(settings.num_embeddings)
        self(tf.zeros([1, FRAME_SIZE, FRAME_SIZE, self.num_stacked_frames]))  # builds the weights

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
    ) -> tuple[VQVAELosses, Quantized]:
        """Terms of the loss for observations in [0, 1], [B, 96, 96, F], and their vectors.

        In training batch norm and codebook learn. The weights are of the pixels, of the
        observations' shape; 1 gives the likelihood.
        """
        quantized = self.quantizer(self.encoder(observations, training=training), training=training)
        logits, pixels = self.decoder(quantized.quantized), self.squeeze(observations)
        log_prob = sum_log_prob(logits, pixels, weights, clamped=self.likelihood == "clamped")
        reconstruction = -tf.reduce_mean(log_prob)
        losses = VQVAELosses(
            reconstruction=reconstruction,
            commitment=quantized.commitment_loss,
            elbo=-reconstruction - self.kl_divergence,
            largest_logit=tf.reduce_max(tf.abs(logits)),
        )
        return losses, quantized


def pixel_distribution(logits: tf.Tensor) -> tfp.distributions.Distribution:
    """Independent continuous Bernoullis over the last three axes of the logits."""
    return tfp.distributions.Independent(
        tfp.distributions.ContinuousBernoulli(logits=logits), reinterpreted_batch_ndims=3
    )


def scale_pixels(frames: tf.Tensor) -> tf.Tensor:
    """uint8 0…255 → float32 in [0, 1]."""
    return tf.cast(frames, tf.float32) / 255.0
