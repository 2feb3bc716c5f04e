"""The two networks that TF-Agents asks, and the one evaluation behind both."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import StepType, trajectory

from smallwm_tf.learning.ppo_networks import ActorNetwork, CodeTrunk, ValueNetwork

B, M = 2, 3  # M as in conftest.py


@pytest.fixture
def embeddings(parts):
    return parts.world_model.vqvae.quantizer.embeddings


@pytest.fixture
def networks(parts, embeddings):
    """Trunk, actor and value network."""
    spec = tensor_spec.BoundedTensorSpec([6, 6], tf.int32, 0, 15)
    action_spec = tensor_spec.BoundedTensorSpec([], tf.int32, 0, M - 1)
    trunk = CodeTrunk(parts.policy, embeddings)
    return trunk, ActorNetwork(spec, action_spec, trunk), ValueNetwork(spec, trunk)


def random_codes(*outer_shape):
    return np.random.default_rng(4).integers(16, size=[*outer_shape, 6, 6]).astype(np.int32)


@pytest.mark.parametrize("outer_shape", [[4], [2, 2]])
def test_they_give_the_models_own_numbers(parts, embeddings, networks, outer_shape):
    _, actor, critic = networks
    codes = random_codes(*outer_shape)
    distribution, _ = actor(tf.constant(codes))
    values, _ = critic(tf.constant(codes))
    logits, expected = parts.policy(tf.constant(codes.reshape(4, 6, 6)), embeddings)
    np.testing.assert_allclose(
        distribution.logits, tf.reshape(logits, [*outer_shape, M]), atol=1e-5
    )
    np.testing.assert_allclose(values, tf.reshape(expected, outer_shape), atol=1e-5)
    assert distribution.dtype == tf.int32


def test_both_train_the_same_variables_and_not_the_codebook(parts, networks):
    _, actor, critic = networks
    codes = tf.constant(random_codes(B))
    actor(codes), critic(codes)
    expected = {variable.ref() for variable in parts.policy.trainable_variables}
    assert {variable.ref() for variable in actor.trainable_variables} == expected
    assert {variable.ref() for variable in critic.trainable_variables} == expected


@pytest.mark.parametrize("in_graph", [False, True])
def test_asked_once_the_gradients_are_those_of_two_calls(parts, networks, monkeypatch, in_graph):
    trunk, actor, critic = networks
    evaluations, evaluate = [], trunk._evaluate
    monkeypatch.setattr(trunk, "_evaluate", lambda *a: evaluations.append(a) or evaluate(*a))
    variables = parts.policy.trainable_variables

    def gradients(codes):
        with tf.GradientTape() as tape:
            distribution, _ = actor(codes)
            values, _ = critic(codes)
            loss = tf.reduce_sum(distribution.log_prob([0, 2])) + tf.reduce_sum(values**2)
        return loss, tape.gradient(loss, variables)

    def gradients_at_once(codes):
        with trunk.once():
            return gradients(codes)

    codes = tf.constant(random_codes(B))
    expected_loss, expected = gradients(codes)
    assert len(evaluations) == 2
    evaluations.clear()
    loss, shared = (tf.function(gradients_at_once) if in_graph else gradients_at_once)(codes)
    assert len(evaluations) == 1
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for ours, theirs in zip(shared, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_other_codes_and_other_weights_are_not_answered_from_memory(parts, networks):
    trunk, _, critic = networks
    codes = tf.constant(random_codes(B))
    with trunk.once():
        first, other = critic(codes)[0], critic((codes + 1) % 16)[0]
    assert not np.allclose(first, other)
    parts.policy.value.bias.assign_add([1.0])
    with trunk.once():
        np.testing.assert_allclose(critic(codes)[0], first + 1.0, atol=1e-5)
    np.testing.assert_allclose(critic(codes)[0], first + 1.0, atol=1e-5)


def minibatch() -> trajectory.Trajectory:
    draw = np.random.default_rng(5)
    return trajectory.Trajectory(
        step_type=tf.fill([4, 1], int(StepType.MID)),
        next_step_type=tf.fill([4, 1], int(StepType.MID)),
        observation=tf.constant(random_codes(4, 1)),
        action=tf.constant([[0], [1], [2], [0]]),
        policy_info={
            "dist_params": {"logits": tf.zeros([4, 1, M])},
            "value_prediction": tf.zeros([4, 1]),
            "return": tf.constant(draw.normal(size=[4, 1]), tf.float32),
            "advantage": tf.constant(draw.normal(size=[4, 1]), tf.float32),
        },
        reward=tf.zeros([4, 1]),
        discount=tf.ones([4, 1]),
    )


@pytest.mark.parametrize("in_graph", [False, True])
def test_two_epochs_inside_the_agent_equal_two_calls(parts, in_graph):
    """TF-Agents' own epochs ask about one and the same tensor, with other weights each time."""
    results = []
    for num_epochs, num_calls in ((1, 2), (2, 1)):
        for variable, value in zip(parts.policy.variables, parts.initial, strict=True):
            variable.assign(value)
        agent = parts.learner(optimizer=tf_keras.optimizers.SGD(0.1)).agent
        agent._num_epochs = num_epochs
        train = tf.function(agent.train, autograph=False) if in_graph else agent.train
        for _ in range(num_calls):
            train(minibatch())
        results.append([variable.numpy() for variable in parts.policy.variables])
    for two_calls, two_epochs in zip(*results, strict=True):
        np.testing.assert_allclose(two_epochs, two_calls, atol=1e-6)
