"""The continuous Bernoulli likelihood of pixels (Loaiza-Ganem & Cunningham, 2019).

With logits η and h = |η| / 2 its density on [0, 1] is

    log p(x) = η·(x − ½) − log(sinh(h) / h),

which is exact for every η; only sinh(h)/h needs a series near 0 and a shifted exponential far away.
TensorFlow Probability's own formula goes through the mean parameter and is several times slower.

The exact density of a pure black or white pixel grows without bound with its logit, and training
follows it. The authors' framework clamps probabilities to [ε, 1 − ε], ε = 2⁻²³, inside the
log-normaliser C, so that C is constant beyond |η| = 15.94:

    log p(x) = η·x − log(1 + exp η) + log C(h),    log C(h) = log(2h / tanh h), h at most 7.97

Up to there the two agree; beyond, the gradient is x − sigmoid(η), which vanishes at a pixel that is
right. ``clamped`` chooses this form.
"""

import math

import tensorflow as tf

_SERIES_BELOW = 0.3  # the series' next terms are below 1e-9 there
_CLAMP = 2.0**-23  # the smallest probability of PyTorch's ``clamp_probs`` in float32
_LARGEST_HALF = math.log((1.0 - _CLAMP) / _CLAMP) / 2.0  # 7.97
_LARGEST_LOG_C = math.log(2.0 * _LARGEST_HALF / math.tanh(_LARGEST_HALF))


def _branches(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Whether the series applies to h = |η| / 2, and arguments for it and for the exact formula.

    Both see only arguments at which they and their gradients are finite.
    """
    half = tf.abs(logits) / 2.0
    is_small = half < _SERIES_BELOW
    small = tf.where(is_small, half, tf.zeros_like(half))
    return is_small, small, tf.where(is_small, tf.ones_like(half), half)


def log_prob(logits: tf.Tensor, pixels: tf.Tensor, clamped: bool) -> tf.Tensor:
    """Elementwise log density; finite, with finite gradients, for any finite logits.

    Pixels are in [0, 1] and broadcastable to the logits.
    """
    is_small, small, large = _branches(logits)
    square = small * small
    series = square * (1 / 6 - square * (1 / 180 - square * (1 / 2835 - square / 37800)))
    power = tf.exp(-2.0 * large)
    far = large + tf.math.log1p(-power) - tf.math.log(2.0 * large)
    if clamped:
        beyond = large + tf.math.log1p(power) - _LARGEST_LOG_C
        far = tf.where(large > _LARGEST_HALF, beyond, far)
    return logits * (pixels - 0.5) - tf.where(is_small, series, far)


def logits_gradient(logits: tf.Tensor, pixels: tf.Tensor, clamped: bool) -> tf.Tensor:
    """Derivative of ``log_prob`` with respect to the logits, elementwise.

    It is x − ½ − sign(η)·(coth h − 1/h) / 2, the pixel minus the mean of the distribution; clamped
    and beyond the clamp x − ½ − sign(η)·tanh(h) / 2 = x − sigmoid(η).
    """
    is_small, small, large = _branches(logits)
    square = small * small
    series = small * (1 / 3 - square * (1 / 45 - square * (2 / 945 - square / 4725)))
    power = tf.exp(-2.0 * large)
    far = (1.0 + power) / (1.0 - power) - 1.0 / large
    if clamped:
        far = tf.where(large > _LARGEST_HALF, (1.0 - power) / (1.0 + power), far)
    return pixels - 0.5 - 0.5 * tf.sign(logits) * tf.where(is_small, series, far)


@tf.function(jit_compile=True)
def _sums_and_gradient(
    logits: tf.Tensor, pixels: tf.Tensor, weights: tf.Tensor, clamped: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    sums = tf.reduce_sum(weights * log_prob(logits, pixels, clamped), axis=[1, 2, 3])
    return sums, weights * logits_gradient(logits, pixels, clamped)


def sum_log_prob(
    logits: tf.Tensor, pixels: tf.Tensor, weights: tf.Tensor | float = 1.0, *, clamped: bool
) -> tf.Tensor:
    """Weighted log density of whole images: [B, H, W, F] → [B].

    One compiled pass gives the density and its derivative with respect to the logits; there is
    none with respect to the pixels and weights.
    """

    @tf.custom_gradient
    def summed(logits: tf.Tensor, pixels: tf.Tensor, weights: tf.Tensor):
        sums, slopes = _sums_and_gradient(logits, pixels, weights, clamped)

        def gradient(upstream: tf.Tensor):
            return upstream[:, tf.newaxis, tf.newaxis, tf.newaxis] * slopes, None, None

        return sums, gradient

    return summed(logits, pixels, tf.convert_to_tensor(weights))
