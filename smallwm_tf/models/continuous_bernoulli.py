"""The continuous Bernoulli distribution of pixels (Loaiza-Ganem & Cunningham, 2019).

With logits η its density on [0, 1] is η·exp(ηx) / (exp(η) − 1), that is, with h = |η| / 2,

    log p(x) = η·(x − ½) − log(sinh(h) / h),

which is exact for every η; only sinh(h)/h needs a series near 0 and a shifted exponential far away.
TensorFlow Probability's own formula goes through the mean parameter and is several times slower.
"""

import tensorflow as tf
import tensorflow_probability as tfp

_SERIES_BELOW = 0.3  # the series' next terms are below 1e-9 there


def _branches(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Whether the series applies to h = |η| / 2, and arguments for it and for the exact formula.

    Both see only arguments at which they and their gradients are finite.
    """
    half = tf.abs(logits) / 2.0
    is_small = half < _SERIES_BELOW
    small = tf.where(is_small, half, tf.zeros_like(half))
    return is_small, small, tf.where(is_small, tf.ones_like(half), half)


def log_prob(logits: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Elementwise log density; finite, with finite gradients, for any finite logits.

    Args:
      logits: any shape.
      pixels: values in [0, 1], broadcastable to ``logits``.
    """
    is_small, small, large = _branches(logits)
    square = small * small
    series = square * (1 / 6 - square * (1 / 180 - square * (1 / 2835 - square / 37800)))
    shifted = large + tf.math.log1p(-tf.exp(-2.0 * large)) - tf.math.log(2.0 * large)
    return logits * (pixels - 0.5) - tf.where(is_small, series, shifted)


def logits_gradient(logits: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Derivative of ``log_prob`` with respect to the logits, elementwise.

    It is x − ½ − sign(η)·(coth h − 1/h) / 2: the pixel minus the mean of the distribution.
    """
    is_small, small, large = _branches(logits)
    square = small * small
    series = small * (1 / 3 - square * (1 / 45 - square * (2 / 945 - square / 4725)))
    power = tf.exp(-2.0 * large)
    exact = (1.0 + power) / (1.0 - power) - 1.0 / large
    return pixels - 0.5 - 0.5 * tf.sign(logits) * tf.where(is_small, series, exact)


class ContinuousBernoulli(tfp.distributions.ContinuousBernoulli):
    """TensorFlow Probability's distribution with the exact and faster density of this module."""

    def _log_prob(self, event: tf.Tensor) -> tf.Tensor:
        return log_prob(self._logits_parameter_no_checks(), event)


@tf.function(jit_compile=True)
def _sums_and_gradient(
    logits: tf.Tensor, pixels: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    sums = tf.reduce_sum(weights * log_prob(logits, pixels), axis=[1, 2, 3])
    return sums, weights * logits_gradient(logits, pixels)


def sum_log_prob(
    logits: tf.Tensor, pixels: tf.Tensor, weights: tf.Tensor | float = 1.0
) -> tf.Tensor:
    """Weighted log density of whole images: [B, H, W, F] → [B].

    One compiled pass gives the density and its derivative with respect to the logits; there is
    none with respect to the pixels and weights.
    """
    return _sum_log_prob(logits, pixels, tf.convert_to_tensor(weights))


@tf.custom_gradient
def _sum_log_prob(logits: tf.Tensor, pixels: tf.Tensor, weights: tf.Tensor):
    sums, slopes = _sums_and_gradient(logits, pixels, weights)

    def gradient(upstream: tf.Tensor):
        return upstream[:, tf.newaxis, tf.newaxis, tf.newaxis] * slopes, None, None

    return sums, gradient
