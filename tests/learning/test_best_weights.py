"""The best of several weights, kept and given back to the last bit."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.learning.adam import BiasCorrectedAdam
from smallwm_tf.learning.best_weights import BestWeights
from smallwm_tf.models.build import build_models

SETTINGS = {"game.num_stacked_frames": 1, "vqvae.num_embeddings": 8, "dynamics.channels": 4}


@pytest.fixture(scope="module")
def policy():
    return build_models(build_config(SETTINGS), num_actions=3)[1]


def change(policy, seed: int) -> list[np.ndarray]:
    """Other values for every variable; returns copies of them."""
    draw = np.random.default_rng(seed)
    for variable in policy.variables:
        variable.assign(draw.normal(size=variable.shape))
    return [variable.numpy() for variable in policy.variables]


@pytest.mark.parametrize(
    ("pays", "kept"),
    [
        ([1.0], [True]),
        ([-3.0, -5.0, -1.0], [True, False, True]),
        ([2.0, 5.0, 3.0, 4.0], [True, True, False, False]),
        ([0.0, 0.0, 0.0], [True, True, True]),  # the game paid nothing: the last one counts
        ([1.0, 3.0, 2.0, 3.0, 0.0], [True, True, False, True, False]),
    ],
)
def test_the_best_policy_comes_back_and_of_equal_ones_the_later(policy, pays, kept):
    best = BestWeights(policy.variables)
    assert best.score is None
    weights = []
    for number, (pay, is_kept) in enumerate(zip(pays, kept, strict=True)):
        weights.append(change(policy, number))
        assert best.offer(pay) is is_kept
        assert best.score == max(pays[: number + 1])
    change(policy, 99)  # training goes on
    best.restore()
    last_kept = max(number for number, is_kept in enumerate(kept) if is_kept)
    assert len(policy.variables) == len(weights[last_kept]) > 2
    for variable, value in zip(policy.variables, weights[last_kept], strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.name)


def test_an_offer_changes_nothing_in_the_policy(policy):
    best = BestWeights(policy.variables)
    for number, pay in enumerate((1.0, 0.0)):
        weights = change(policy, number)
        best.offer(pay)
        for variable, value in zip(policy.variables, weights, strict=True):
            np.testing.assert_array_equal(variable, value, err_msg=variable.name)


def test_with_the_moments_training_goes_on_as_if_nothing_had_come_after():
    """Three steps, the best of them the second: a fourth one equals the third of a twin."""
    gradients = [np.array([1.0, -2.0]), np.array([0.5, 3.0]), np.array([-4.0, 0.1])]
    last = tf.constant([0.3, 0.3])

    def trained(steps):
        variable, optimizer = tf.Variable([0.0, 0.0]), BiasCorrectedAdam(0.1, 0.9, 0.999, 1e-8)
        optimizer.build([variable])
        best = BestWeights([variable, *optimizer.variables])
        for number, gradient in enumerate(steps):
            optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
            best.offer(1.0 if number == 1 else 0.0)
        best.restore()
        optimizer.apply_gradients([(last, variable)])
        return variable.numpy(), int(optimizer.iterations)

    weights, count = trained(gradients)
    expected, expected_count = trained(gradients[:2])
    np.testing.assert_array_equal(weights, expected)
    assert count == expected_count == 3
