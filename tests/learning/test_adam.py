"""Adam against PyTorch's formula in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.learning.adam import BiasCorrectedAdam

SETTINGS = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}


def numpy_adam(weights: np.ndarray, all_gradients: list[np.ndarray]) -> np.ndarray:
    """The weights after all steps, float64."""
    weights = weights.astype(np.float64)
    m, v = np.zeros_like(weights), np.zeros_like(weights)
    for t, gradient in enumerate(all_gradients, start=1):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        weights = weights - 1e-3 * m_hat / (np.sqrt(v_hat) + 1e-8)
    return weights


@pytest.mark.parametrize("size_of_gradient", [1.0, 1e-4, 1e-8, 1e-9, 0.0])
def test_steps_equal_pytorchs_formula(size_of_gradient):
    draw = np.random.default_rng(0)
    start = np.zeros([4, 3])
    gradients = [size_of_gradient * draw.normal(size=[4, 3]) for _ in range(7)]
    variable = tf.Variable(start, dtype=tf.float32)
    optimizer = BiasCorrectedAdam(**SETTINGS)
    for count in range(1, 8):
        optimizer.apply_gradients([(tf.constant(gradients[count - 1], tf.float32), variable)])
        expected = numpy_adam(start, gradients[:count])
        np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-9)


def test_tiny_gradients_move_weights_by_what_hand_work_says():
    # First step with g = 1e-8: m̂ = 1e-8, √v̂ = 1e-8, so α·1e-8 / (1e-8 + 1e-8) = α / 2.
    # With epsilon before the correction it would be α / (1 + 31.6).
    variable = tf.Variable([0.0])
    BiasCorrectedAdam(**SETTINGS).apply_gradients([(tf.constant([1e-8]), variable)])
    np.testing.assert_allclose(variable, [-0.5e-3], rtol=1e-3)


def test_moments_follow_their_variable_whatever_the_order_of_the_pairs():
    draw = np.random.default_rng(1)
    optimizer = BiasCorrectedAdam(**SETTINGS)
    one, two = tf.Variable(np.zeros(3, np.float32)), tf.Variable(np.zeros(3, np.float32))
    optimizer.build([one, two])
    history = [(draw.normal(size=3), 100 * draw.normal(size=3)) for _ in range(4)]
    for number, gradients in enumerate(history):
        first, second = (tf.constant(g, tf.float32) for g in gradients)
        pairs = [(first, one), (second, two)]
        optimizer.apply_gradients(pairs if number % 2 == 0 else pairs[::-1])
    np.testing.assert_allclose(one, numpy_adam(np.zeros(3), [g for g, _ in history]), rtol=1e-4)
    np.testing.assert_allclose(two, numpy_adam(np.zeros(3), [g for _, g in history]), rtol=1e-4)


def test_it_counts_on_inside_a_graph_and_takes_another_learning_rate():
    variable = tf.Variable([1.0, -2.0])
    optimizer = BiasCorrectedAdam(**SETTINGS)
    optimizer.build([variable])

    @tf.function
    def three_steps():
        for _ in tf.range(3):
            optimizer.apply_gradients([(2.0 * variable, variable)])

    three_steps()
    assert int(optimizer.iterations) == 3
    weights = np.array([1.0, -2.0])
    gradients = []
    for _ in range(3):
        gradients.append(2.0 * numpy_adam(weights, gradients))
    np.testing.assert_allclose(variable, numpy_adam(weights, gradients), rtol=1e-5)
    before = variable.numpy()
    optimizer.learning_rate.assign(0.0)
    three_steps()
    np.testing.assert_array_equal(variable, before)


def test_its_state_survives_a_checkpoint(tmp_path):
    gradients = [np.array([0.3, -1.0]), np.array([2.0, 0.1]), np.array([-1.0, 1.0])]
    variable = tf.Variable([0.0, 0.0])
    optimizer = BiasCorrectedAdam(**SETTINGS)
    optimizer.build([variable])
    for gradient in gradients[:2]:
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
    path = tf.train.Checkpoint(optimizer=optimizer, variable=variable).write(str(tmp_path / "c"))

    restored_variable = tf.Variable([0.0, 0.0])
    restored = BiasCorrectedAdam(**SETTINGS)
    restored.build([restored_variable])
    checkpoint = tf.train.Checkpoint(optimizer=restored, variable=restored_variable)
    checkpoint.read(path).assert_consumed()
    restored.apply_gradients([(tf.constant(gradients[2], tf.float32), restored_variable)])
    np.testing.assert_allclose(restored_variable, numpy_adam(np.zeros(2), gradients), rtol=1e-5)
