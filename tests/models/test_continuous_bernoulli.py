"""The continuous Bernoulli against quadrature and TensorFlow Probability."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from smallwm_tf.models.continuous_bernoulli import ContinuousBernoulli, log_prob, sum_log_prob

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(400)
NODES, WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2  # on [0, 1]

SWITCH = 0.6  # where the implementation changes from a series to an exponential
LOGITS = sorted(
    sign * size
    for size in [
        0.0,
        1e-6,
        1e-3,
        0.1,
        0.59,
        np.nextafter(SWITCH, 0),
        SWITCH,
        0.61,
        3.0,
        60.0,
        200.0,
    ]
    for sign in ([1, -1] if size else [1])
)


def log_normaliser(logit: float) -> float:
    """log ∫ exp(η(x − ½)) dx, by quadrature."""
    exponent = logit * (NODES - 0.5)
    largest = exponent.max()
    return largest + np.log(np.sum(WEIGHTS * np.exp(exponent - largest)))


def reference_log_prob(logit: float, pixel: float) -> float:
    return logit * (pixel - 0.5) - log_normaliser(logit)


def mean_by_quadrature(logit: float) -> float:
    density = np.exp(logit * (NODES - 0.5) - log_normaliser(logit))
    return float(np.sum(WEIGHTS * NODES * density))


@pytest.mark.parametrize("logit", LOGITS)
def test_the_density_integrates_to_one(logit):
    in_float64 = log_prob(tf.constant(logit, tf.float64), tf.constant(NODES)).numpy()
    np.testing.assert_allclose(np.sum(WEIGHTS * np.exp(in_float64)), 1.0, rtol=1e-9)
    in_float32 = log_prob(tf.constant(logit, tf.float32), tf.constant(NODES, tf.float32)).numpy()
    np.testing.assert_allclose(np.sum(WEIGHTS * np.exp(in_float32)), 1.0, rtol=1e-4)


@pytest.mark.parametrize("logit", [-30.0, -4.0, -0.7, -0.3, 0.25, 0.6, 1.0, 8.0, 30.0])
def test_log_prob_equals_tensorflow_probabilitys(logit):
    pixels = np.linspace(0.0, 1.0, 11)
    eta, pixels = tf.constant(logit, tf.float64), tf.constant(pixels)
    theirs = tfp.distributions.ContinuousBernoulli(logits=eta).log_prob(pixels)
    ours = log_prob(eta, pixels)
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
    subclass = ContinuousBernoulli(logits=eta).log_prob(pixels)
    np.testing.assert_array_equal(subclass, ours)


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("pixel", [0.0, 0.3, 1.0])
def test_value_and_gradient_equal_quadrature_and_central_differences(logit, pixel):
    eta = tf.constant(logit, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(eta)
        value = log_prob(eta, tf.constant(pixel, tf.float32))
    gradient = tape.gradient(value, eta).numpy()
    step = 1e-4
    differences = (
        reference_log_prob(logit + step, pixel) - reference_log_prob(logit - step, pixel)
    ) / (2 * step)
    assert np.isfinite(gradient)
    np.testing.assert_allclose(gradient, differences, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(value, reference_log_prob(logit, pixel), rtol=1e-5, atol=1e-5)


def test_sum_log_prob_adds_the_pixels_of_each_image():
    draw = np.random.default_rng(0)
    logits = draw.normal(scale=20, size=[3, 4, 5, 2])
    pixels = draw.uniform(size=logits.shape)
    expected = np.zeros(3)
    for index in np.ndindex(*logits.shape):
        expected[index[0]] += reference_log_prob(logits[index], pixels[index])
    summed = sum_log_prob(tf.constant(logits, tf.float32), tf.constant(pixels, tf.float32))
    np.testing.assert_allclose(summed, expected, rtol=1e-4)


def test_its_gradient_is_finite_for_mixed_extreme_logits():
    logits = tf.reshape(tf.constant(LOGITS, tf.float32), [1, -1, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = sum_log_prob(logits, tf.ones_like(logits))
    gradient = tape.gradient(total, logits).numpy().ravel()
    means = [mean_by_quadrature(logit) for logit in LOGITS]
    np.testing.assert_allclose(gradient, 1.0 - np.array(means), atol=2e-5)


def test_weights_count_pixels_more_or_less_often():
    draw = np.random.default_rng(1)
    logits = draw.normal(scale=5, size=[2, 3, 4, 2])
    pixels = draw.uniform(size=logits.shape)
    weights = draw.uniform(0.0, 10.0, size=logits.shape)
    upstream = np.array([2.0, -3.0])
    value, slopes = np.zeros(2), np.zeros(logits.shape)
    for index in np.ndindex(*logits.shape):
        value[index[0]] += weights[index] * reference_log_prob(logits[index], pixels[index])
        slope = pixels[index] - mean_by_quadrature(logits[index])
        slopes[index] = upstream[index[0]] * weights[index] * slope

    eta = tf.constant(logits, tf.float32)
    others = [tf.constant(values, tf.float32) for values in (pixels, weights)]
    with tf.GradientTape() as tape:
        tape.watch([eta, *others])
        summed = sum_log_prob(eta, *others)
        total = tf.reduce_sum(summed * upstream.astype(np.float32))
    np.testing.assert_allclose(summed, value, rtol=1e-4)
    gradients = tape.gradient(total, [eta, *others])
    np.testing.assert_allclose(gradients[0], slopes, rtol=1e-3, atol=1e-4)
    assert gradients[1:] == [None, None]


@pytest.mark.parametrize("weights", [(), (1.0,), (0.25,)])
def test_one_weight_for_all_pixels_scales_value_and_gradient(weights):
    logits = tf.reshape(tf.linspace(-3.0, 3.0, 12), [1, 3, 4, 1])
    pixels = tf.reshape(tf.linspace(0.0, 1.0, 12), [1, 3, 4, 1])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        summed = sum_log_prob(logits, pixels, *weights)
    scale = weights[0] if weights else 1.0
    pairs = list(zip(logits.numpy().ravel(), pixels.numpy().ravel(), strict=True))
    expected = scale * sum(reference_log_prob(*pair) for pair in pairs)
    np.testing.assert_allclose(summed, [expected], rtol=1e-4)
    slopes = [scale * (pixel - mean_by_quadrature(logit)) for logit, pixel in pairs]
    np.testing.assert_allclose(tape.gradient(summed, logits).numpy().ravel(), slopes, atol=1e-5)
