"""The continuous Bernoulli against quadrature, TensorFlow Probability and the authors' clamp."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from smallwm_tf.models.continuous_bernoulli import log_prob, sum_log_prob

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
    in_float64 = log_prob(tf.constant(logit, tf.float64), tf.constant(NODES), False).numpy()
    np.testing.assert_allclose(np.sum(WEIGHTS * np.exp(in_float64)), 1.0, rtol=1e-9)
    in_float32 = log_prob(
        tf.constant(logit, tf.float32), tf.constant(NODES, tf.float32), False
    ).numpy()
    np.testing.assert_allclose(np.sum(WEIGHTS * np.exp(in_float32)), 1.0, rtol=1e-4)


@pytest.mark.parametrize("logit", [-30.0, -4.0, -0.7, -0.3, 0.25, 0.6, 1.0, 8.0, 30.0])
def test_log_prob_equals_tensorflow_probabilitys(logit):
    pixels = np.linspace(0.0, 1.0, 11)
    eta, pixels = tf.constant(logit, tf.float64), tf.constant(pixels)
    theirs = tfp.distributions.ContinuousBernoulli(logits=eta).log_prob(pixels)
    np.testing.assert_allclose(log_prob(eta, pixels, False), theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("pixel", [0.0, 0.3, 1.0])
def test_value_and_gradient_equal_quadrature_and_central_differences(logit, pixel):
    eta = tf.constant(logit, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(eta)
        value = log_prob(eta, tf.constant(pixel, tf.float32), False)
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
    summed = sum_log_prob(
        tf.constant(logits, tf.float32), tf.constant(pixels, tf.float32), clamped=False
    )
    np.testing.assert_allclose(summed, expected, rtol=1e-4)


def test_its_gradient_is_finite_for_mixed_extreme_logits():
    logits = tf.reshape(tf.constant(LOGITS, tf.float32), [1, -1, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = sum_log_prob(logits, tf.ones_like(logits), clamped=False)
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
        summed = sum_log_prob(eta, *others, clamped=False)
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
        summed = sum_log_prob(logits, pixels, *weights, clamped=False)
    scale = weights[0] if weights else 1.0
    pairs = list(zip(logits.numpy().ravel(), pixels.numpy().ravel(), strict=True))
    expected = scale * sum(reference_log_prob(*pair) for pair in pairs)
    np.testing.assert_allclose(summed, [expected], rtol=1e-4)
    slopes = [scale * (pixel - mean_by_quadrature(logit)) for logit, pixel in pairs]
    np.testing.assert_allclose(tape.gradient(summed, logits).numpy().ravel(), slopes, atol=1e-5)


# The authors' framework: probabilities clamped to [ε, 1 − ε] inside the log-normaliser alone.
EPSILON = float(np.finfo(np.float32).eps)
FREEZES_AT = np.log((1 - EPSILON) / EPSILON)


def clamped_reference(logit: float, pixel: float) -> float:
    """Cross-entropy with logits, plus log C of the clamped probability, in float64."""
    probability = np.clip(1 / (1 + np.exp(-logit)), EPSILON, 1 - EPSILON)
    cross_entropy = pixel * np.logaddexp(0, -logit) + (1 - pixel) * np.logaddexp(0, logit)
    if abs(probability - 0.5) < 1e-4:
        log_c = np.log(2.0) + 4 / 3 * (probability - 0.5) ** 2
    else:
        log_c = np.log(2 * np.arctanh(1 - 2 * probability) / (1 - 2 * probability))
    return log_c - cross_entropy


CLAMPED_LOGITS = [0.0, 0.5, -0.6, 3.0, -8.0, 15.9, -15.9, 16.0, -16.0, 40.0, -300.0]


@pytest.mark.parametrize("logit", CLAMPED_LOGITS)
@pytest.mark.parametrize("pixel", [0.0, 0.3, 1.0])
def test_the_clamped_form_equals_the_authors_definition_and_its_differences(logit, pixel):
    eta = tf.constant([[[[logit]]]], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(eta)
        summed = sum_log_prob(eta, tf.fill(eta.shape, pixel), clamped=True)
    step = 1e-4
    differences = (
        clamped_reference(logit + step, pixel) - clamped_reference(logit - step, pixel)
    ) / (2 * step)
    np.testing.assert_allclose(summed[0], clamped_reference(logit, pixel), rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(
        tape.gradient(summed, eta).numpy().ravel(), [differences], rtol=1e-3, atol=2e-5
    )
    in_float64 = log_prob(tf.constant(logit, tf.float64), pixel, True)
    with tf.GradientTape() as tape:
        eta = tf.constant(logit, tf.float64)
        tape.watch(eta)
        in_float64 = log_prob(eta, tf.constant(pixel, tf.float64), True)
    np.testing.assert_allclose(in_float64, clamped_reference(logit, pixel), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(tape.gradient(in_float64, eta), differences, rtol=1e-5, atol=1e-7)


def test_both_forms_agree_up_to_the_clamp_and_part_beyond_it():
    logits = tf.linspace(-FREEZES_AT, FREEZES_AT, 999)
    for pixel in (0.0, 0.7, 1.0):
        np.testing.assert_allclose(
            log_prob(logits, pixel, True), log_prob(logits, pixel, False), rtol=1e-6, atol=1e-6
        )
    beyond = tf.constant([20.0, 300.0, 3000.0])
    exact, clamped = (log_prob(beyond, 1.0, form).numpy() for form in (False, True))
    assert (exact > clamped + 0.1).all()
    np.testing.assert_allclose(clamped, clamped[0], rtol=1e-4)


@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_a_black_or_white_region_drives_no_clamped_logit_without_bound(pixel):
    def climb(clamped: bool) -> float:
        logits = tf.Variable(tf.zeros([1, 2, 2, 1]))
        optimizer = tf.keras.optimizers.Adam(1.0)

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                pixels = tf.fill(logits.shape, pixel)
                loss = -tf.reduce_sum(sum_log_prob(logits, pixels, clamped=clamped))
            optimizer.apply_gradients([(tape.gradient(loss, logits), logits)])

        for _ in range(600):
            step()
        return float(tf.reduce_max(tf.abs(logits)))

    assert climb(clamped=True) < 40
    assert climb(clamped=False) > 100  # what the clamp is for
