"""Advantages and the clipped losses of PPO on hand-worked numbers, through the shipped agent."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_agents.trajectories import StepType, trajectory
from tf_agents.trajectories import time_step as ts

H, M = 3, 3  # as in conftest.py
FIRST, MID, LAST = (int(t) for t in (StepType.FIRST, StepType.MID, StepType.LAST))


# ---- advantages and returns -----------------------------------------------------------------


def rollout_of(rewards, values, last_discount: float) -> trajectory.Trajectory:
    """A trajectory [2, 4] as ``DreamPolicyLearner.rollout`` returns it."""
    return trajectory.Trajectory(
        step_type=tf.constant([[FIRST, MID, MID, LAST]] * 2),
        next_step_type=tf.constant([[MID, MID, LAST, LAST]] * 2),
        observation=tf.zeros([2, 4, 6, 6], tf.int32),
        action=tf.zeros([2, 4], tf.int32),
        policy_info={
            "dist_params": {"logits": tf.zeros([2, 4, M])},
            "value_prediction": tf.constant(values, tf.float32),
        },
        reward=tf.constant(rewards, tf.float32),
        discount=tf.constant([[1.0, 1.0, last_discount, last_discount]] * 2),
    )


# γ = ½ and λ = ½. Values of the first dream 1, 2, 3 and, behind the horizon, 8.
#   terminal: δ_2 = 1 − 3 = −2, δ_1 = 0 + ½·3 − 2 = −½, δ_0 = 1 + ½·2 − 1 = 1
#             A_2 = −2, A_1 = −½ + ¼·(−2) = −1, A_0 = 1 + ¼·(−1) = 0.75
#   bootstrap: δ_2 = 1 + ½·8 − 3 = 2, so A_2 = 2, A_1 = −½ + ¼·2 = 0, A_0 = 1
# Values of the second dream 0, 0, 0 and 4: rewards 0, −1, 0.
#   terminal: A_2 = 0, A_1 = −1, A_0 = −¼;  bootstrap: A_2 = 2, A_1 = −½, A_0 = −⅛
REWARDS = [[1, 0, 1, 0], [0, -1, 0, 0]]
VALUES = [[1, 2, 3, 8], [0, 0, 0, 4]]
ADVANTAGES = {
    False: [[0.75, -1.0, -2.0], [-0.25, -1.0, 0.0]],
    True: [[1.0, 0.0, 2.0], [-0.125, -0.5, 2.0]],
}


@pytest.mark.parametrize("bootstrap", [False, True])
def test_advantages_and_lambda_returns_on_hand_worked_numbers(parts, bootstrap):
    learner = parts.learner(
        **{
            "ppo.discount": 0.5,
            "ppo.gae_lambda": 0.5,
            "dream.bootstrap_at_horizon": bootstrap,
        }
    )
    experience = learner.with_advantages(
        rollout_of(REWARDS, VALUES, last_discount=1.0 if bootstrap else 0.0)
    )
    expected = np.array(ADVANTAGES[bootstrap])
    np.testing.assert_allclose(experience.policy_info["advantage"], expected, atol=1e-6)
    returns = expected + np.array(VALUES)[:, :H]
    np.testing.assert_allclose(experience.policy_info["return"], returns, atol=1e-6)
    np.testing.assert_array_equal(experience.policy_info["value_prediction"].shape, [2, H])
    np.testing.assert_array_equal(experience.step_type, [[FIRST, MID, MID]] * 2)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_advantages_at_the_papers_discounts_equal_a_sum_over_the_future(parts, bootstrap):
    """A_t = Σ_k (γλ)^k δ_{t+k}, with γ = 0.99 and λ = 0.95, summed term by term."""
    learner = parts.learner(**{"dream.bootstrap_at_horizon": bootstrap})
    draw = np.random.default_rng(1)
    rewards, values = draw.normal(size=[2, 4]), draw.normal(size=[2, 4])
    following = values[:, 1:].copy()
    if not bootstrap:
        following[:, -1] = 0.0
    deltas = rewards[:, :3] + 0.99 * following - values[:, :3]
    expected = np.zeros([2, 3])
    for t in range(3):
        for k in range(3 - t):
            expected[:, t] += (0.99 * 0.95) ** k * deltas[:, t + k]
    rollout = rollout_of(rewards, values, last_discount=1.0 if bootstrap else 0.0)
    experience = learner.with_advantages(rollout)
    np.testing.assert_allclose(experience.policy_info["advantage"], expected, atol=1e-5)


# ---- losses ---------------------------------------------------------------------------------


def minibatch_of(actions, old_logits, old_values, returns, advantages) -> trajectory.Trajectory:
    """Transitions as sequences of length one, [B, 1, ...]."""

    def column(values, dtype=tf.float32):
        return tf.constant(values, dtype)[:, tf.newaxis]

    count = len(actions)
    return trajectory.Trajectory(
        step_type=tf.fill([count, 1], MID),
        next_step_type=tf.fill([count, 1], MID),
        observation=tf.zeros([count, 1, 6, 6], tf.int32),
        action=column(actions, tf.int32),
        policy_info={
            "dist_params": {"logits": column(old_logits)},
            "value_prediction": column(old_values),
            "return": column(returns),
            "advantage": column(advantages),
        },
        reward=tf.zeros([count, 1]),
        discount=tf.ones([count, 1]),
    )


def loss_of(agent, actions, old_probabilities, old_values, returns, advantages):
    """The agent's loss on transitions with given, already normalised advantages."""
    count = len(actions)
    time_steps = ts.TimeStep(
        step_type=tf.fill([count, 1], MID),
        reward=tf.zeros([count, 1]),
        discount=tf.ones([count, 1]),
        observation=tf.zeros([count, 1, 6, 6], tf.int32),
    )

    def column(values):
        return tf.constant(values, tf.float32)[:, tf.newaxis]

    return agent.get_loss(
        time_steps,
        actions=tf.constant(actions)[:, tf.newaxis],
        act_log_probs=tf.math.log(column(old_probabilities)),
        returns=column(returns),
        normalized_advantages=column(advantages),
        action_distribution_parameters=None,
        weights=tf.ones([count, 1]),
        train_step=agent.train_step_counter,
        debug_summaries=False,
        old_value_predictions=column(old_values),
        training=True,
    )


PROBABILITIES = [0.5, 0.3, 0.2]  # of the present policy


@pytest.mark.parametrize(
    ("action", "old_probability", "advantage", "expected"),
    [
        (0, 0.5, 2.0, -2.0),  # ratio 1
        (0, 0.25, 1.0, -1.1),  # ratio 2, gain: clipped at 1.1
        (0, 0.25, -1.0, 2.0),  # ratio 2, loss: not clipped
        (2, 0.4, 1.0, -0.5),  # ratio ½, gain: not clipped
        (2, 0.4, -1.0, 0.9),  # ratio ½, loss: clipped at 0.9
        (1, 0.3 / 1.05, 3.0, -3.15),  # ratio 1.05: inside the clip
    ],
)
def test_the_clipped_policy_loss(parts, action, old_probability, advantage, expected):
    parts.be_constant(np.log(PROBABILITIES), 0.0)
    agent = parts.learner().agent
    extra = loss_of(agent, [action], [old_probability], [0.0], [0.0], [advantage]).extra
    np.testing.assert_allclose(extra.policy_gradient_loss, expected, rtol=1e-5)
    assert extra.clip_fraction == (abs(PROBABILITIES[action] / old_probability - 1) > 0.1)


@pytest.mark.parametrize(
    ("old_value", "true_return", "expected"),
    [
        (1.0, 2.0, 0.5 * 1.0),  # the value is 1 as before: ½·(2 − 1)²
        (0.5, 2.0, 0.5 * 1.4**2),  # moved up by ½: clipped to 0.6, the larger error counts
        (0.5, 0.0, 0.5 * 1.0),  # moved too far the wrong way: unclipped error is larger
        (0.95, 3.0, 0.5 * 4.0),  # moved by 0.05: inside the clip
    ],
)
def test_the_clipped_value_loss(parts, old_value, true_return, expected):
    parts.be_constant([0.0, 0.0, 0.0], 1.0)
    agent = parts.learner().agent
    extra = loss_of(agent, [0], [1 / 3], [old_value], [true_return], [1.0]).extra
    np.testing.assert_allclose(extra.value_estimation_loss, expected, rtol=1e-5)


def test_the_total_is_the_weighted_sum_with_the_entropy(parts):
    parts.be_constant(np.log(PROBABILITIES), 1.0)
    agent = parts.learner().agent
    loss = loss_of(agent, [0, 1], [0.5, 0.3], [1.0, 1.0], [2.0, 3.0], [1.0, -2.0])
    entropy = -sum(p * np.log(p) for p in PROBABILITIES)
    policy, value = -(1.0 - 2.0) / 2, 0.5 * (1.0 + 4.0) / 2
    np.testing.assert_allclose(loss.extra.entropy_regularization_loss, -0.01 * entropy, rtol=1e-5)
    np.testing.assert_allclose(loss.loss, policy + value - 0.01 * entropy, rtol=1e-5)


def test_train_normalises_advantages_and_clips_the_gradients_global_norm(parts):
    """Plain gradient descent with rate 1 shows the clipped gradient as the weights' change."""
    variables = parts.policy.trainable_variables
    minibatch = minibatch_of(
        actions=[0, 1, 2, 0],
        old_logits=np.tile(np.log(PROBABILITIES), [4, 1]),
        old_values=[1.0, 1.0, 1.0, 1.0],
        returns=[4.0, 2.0, -3.0, 30.0],
        advantages=[3.0, 1.0, -4.0, 4.0],
    )

    def change(max_norm: float) -> tuple[np.ndarray, object]:
        for variable, value in zip(parts.policy.variables, parts.initial, strict=True):
            variable.assign(value)
        parts.be_constant(np.log(PROBABILITIES), 1.0)
        before = [variable.numpy() for variable in variables]
        agent = parts.learner(
            optimizer=tf_keras.optimizers.SGD(1.0), **{"ppo.max_gradient_norm": max_norm}
        ).agent
        info = agent.train(minibatch)
        moved = [v.numpy() - b for v, b in zip(variables, before, strict=True)]
        return np.concatenate([m.ravel() for m in moved]).astype(np.float64), info

    free, info = change(1e6)
    clipped, _ = change(0.5)
    assert np.linalg.norm(free) > 2.0
    np.testing.assert_allclose(np.linalg.norm(clipped), 0.5, rtol=1e-3)
    np.testing.assert_allclose(clipped, free * 0.5 / np.linalg.norm(free), atol=1e-4)
    # All ratios are 1, so the policy loss is minus the mean of normalised advantages: 0.
    np.testing.assert_allclose(info.extra.policy_gradient_loss, 0.0, atol=1e-6)
    value_loss = 0.5 * np.mean(np.square([3.0, 1.0, -4.0, 29.0]))
    np.testing.assert_allclose(info.extra.value_estimation_loss, value_loss, rtol=1e-5)
    # The gradient of the logits' bias is by hand: −mean of Â·(onehot − p), entropy besides.
    advantages = np.array([3.0, 1.0, -4.0, 4.0])
    normal = (advantages - 1.0) / np.sqrt(np.mean((advantages - 1.0) ** 2))
    p = np.array(PROBABILITIES)
    policy_part = np.mean(normal[:, np.newaxis] * (np.eye(3)[[0, 1, 2, 0]] - p), axis=0)
    entropy_part = -0.01 * p * (np.log(p) - np.sum(p * np.log(p)))
    offset = 0
    for variable in variables:
        size = int(np.prod(variable.shape))
        if variable is parts.policy.logits.bias:
            np.testing.assert_allclose(
                free[offset : offset + size], policy_part + entropy_part, atol=1e-4
            )
        offset += size
