"""Policy and value against NumPy, and the trunk that TF-Agents' two networks share."""

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec

from smallwm_tf.models import policy as policy_module
from smallwm_tf.models.policy import ActorNetwork, PolicyAndValue, SharedTrunk, ValueNetwork

B, M, D, K = 2, 5, 4, 7


@pytest.fixture(scope="module", params=[DIRECT, FAST])
def model(request):
    network = PolicyAndValue(num_actions=M, embedding_dim=D, execution=request.param)
    draw = np.random.default_rng(0)
    for norm in (network.norm_1x1, network.norm_5x5):
        norm.scale.assign(draw.uniform(0.5, 1.5, size=norm.scale.shape))
        norm.offset.assign(draw.normal(scale=0.3, size=norm.offset.shape))
    return network


@pytest.fixture(scope="module")
def codebook():
    return np.random.default_rng(1).normal(size=[K, D]).astype(np.float32)


@pytest.fixture
def codes():
    return np.random.default_rng(2).integers(K, size=[B, 6, 6]).astype(np.int32)


def leaky_relu(features: np.ndarray) -> np.ndarray:
    return np.where(features > 0, features, 0.01 * features)


def layer_norm(images: np.ndarray, norm) -> np.ndarray:
    """[B, 6, 6, C], over everything but the batch."""
    scale, offset = (v.numpy().reshape(6, 6, -1) for v in (norm.scale, norm.offset))
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    variance = images.var(axis=(1, 2, 3), keepdims=True)
    return (images - mean) / np.sqrt(variance + 1e-5) * scale + offset


def reference(model: PolicyAndValue, embedded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and values of embedding vectors [B, 6, 6, D], float64."""
    features = embedded.astype(np.float64) @ model.conv_1x1.kernel.numpy()
    features = leaky_relu(layer_norm(features, model.norm_1x1))
    padded = np.pad(features, [(0, 0), (2, 2), (2, 2), (0, 0)])
    kernel = model.conv_5x5.kernel.numpy()
    features = sum(
        padded[:, i : i + 6, j : j + 6] @ kernel[i, j] for i in range(5) for j in range(5)
    )
    features = leaky_relu(layer_norm(features, model.norm_5x5)).reshape(len(embedded), -1)
    hidden = leaky_relu(features @ model.hidden.kernel.numpy() + model.hidden.bias.numpy())
    logits = hidden @ model.logits.kernel.numpy() + model.logits.bias.numpy()
    return logits, (hidden @ model.value.kernel.numpy() + model.value.bias.numpy())[:, 0]


# Small vectors bring the first layer norm's variance near its epsilon.
@pytest.mark.parametrize("scale", [1.0, 5e-3])
def test_logits_and_values_equal_numpy(model, scale):
    embedded = scale * np.random.default_rng(3).normal(size=[B, 6, 6, D])
    codes = np.arange(B * 36).reshape(B, 6, 6)  # every cell has a vector of its own
    logits, values = model(tf.constant(codes), tf.constant(embedded.reshape(-1, D), tf.float32))
    expected_logits, expected_values = reference(model, embedded)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-5)
    np.testing.assert_allclose(values, expected_values, atol=1e-5)


def networks_of(model, codebook):
    spec = tensor_spec.BoundedTensorSpec([6, 6], tf.int32, 0, K - 1)
    action_spec = tensor_spec.BoundedTensorSpec([], tf.int32, 0, M - 1)
    trunk = SharedTrunk(model, lambda codes: tf.gather(tf.constant(codebook), codes))
    return ActorNetwork(spec, action_spec, trunk), ValueNetwork(spec, trunk)


@pytest.mark.parametrize("outer_shape", [[4], [2, 2]])
def test_the_tf_agents_networks_give_the_same_numbers(model, codebook, outer_shape):
    codes = np.random.default_rng(4).integers(K, size=[4, 6, 6]).astype(np.int32)
    actor, critic = networks_of(model, codebook)
    shaped = tf.constant(codes.reshape([*outer_shape, 6, 6]))
    distribution, _ = actor(shaped)
    values, _ = critic(shaped)
    logits, expected_values = reference(model, codebook[codes])
    np.testing.assert_allclose(distribution.logits, logits.reshape([*outer_shape, M]), atol=1e-5)
    np.testing.assert_allclose(values, expected_values.reshape(outer_shape), atol=1e-5)
    assert distribution.dtype == tf.int32


def test_both_networks_train_the_same_variables(model, codebook, codes):
    actor, critic = networks_of(model, codebook)
    actor(codes), critic(codes)
    expected = {variable.ref() for variable in model.trainable_variables}
    assert {variable.ref() for variable in actor.trainable_variables} == expected
    assert {variable.ref() for variable in critic.trainable_variables} == expected


def test_in_a_graph_the_trunk_is_evaluated_once_with_the_gradients_of_two_calls(
    model, codebook, codes, monkeypatch
):
    actor, critic = networks_of(model, codebook)
    evaluations = []
    original = policy_module.to_grid_major  # called once per evaluation of the trunk
    monkeypatch.setattr(
        policy_module, "to_grid_major", lambda x: evaluations.append(x) or original(x)
    )
    variables = model.trainable_variables

    def gradients(codes):
        with tf.GradientTape() as tape:
            distribution, _ = actor(codes)
            values, _ = critic(codes)
            loss = tf.reduce_sum(distribution.log_prob([0, 3])) + tf.reduce_sum(values**2)
        return loss, tape.gradient(loss, variables)

    eager_loss, eager_gradients = gradients(tf.constant(codes))
    evaluations.clear()
    loss, shared_gradients = tf.function(gradients)(tf.constant(codes))
    assert len(evaluations) == 1
    np.testing.assert_allclose(loss, eager_loss, rtol=1e-5)
    for ours, theirs in zip(shared_gradients, eager_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_other_codes_are_not_answered_from_memory(model, codebook, codes):
    actor, critic = networks_of(model, codebook)

    @tf.function
    def values_of_two(first, second):
        actor(first)
        return critic(second)[0]

    other = (codes + 1) % K
    expected = reference(model, codebook[other])[1]
    np.testing.assert_allclose(
        values_of_two(tf.constant(codes), tf.constant(other)), expected, atol=1e-5
    )
