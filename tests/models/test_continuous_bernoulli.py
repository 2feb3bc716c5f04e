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
    means = [
        np.sum(WEIGHTS * NODES * np.exp(logit * (NODES - 0.5) - log_normaliser(logit)))
        for logit in LOGITS
    ]
    np.testing.assert_allclose(gradient, 1.0 - np.array(means), atol=2e-5)
