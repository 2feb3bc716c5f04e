"""The dynamics network: how its parts are joined, and its two heads against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.models.dynamics import (
    Dynamics,
    DynamicsState,
    class_rewards,
    latent_distribution,
    reward_classes,
    reward_distribution,
)

B, M, K, D, C = 2, 3, 16, 4, 8
SIZES = {"num_actions": M, "num_embeddings": K, "embedding_dim": D, "channels": C}


@pytest.fixture(scope="module")
def direct():
    return Dynamics(**SIZES, convolution="direct")


@pytest.fixture(scope="module")
def step_arguments():
    draw = np.random.default_rng(0)
    embedded = tf.constant(draw.normal(size=[36, B, D]), tf.float32)
    return embedded, tf.constant([2, 0])


def dense(features: np.ndarray, layer) -> np.ndarray:
    return np.asarray(features, np.float64) @ layer.kernel.numpy() + layer.bias.numpy()


def leaky_relu(features: np.ndarray) -> np.ndarray:
    return np.where(features > 0, features, 0.01 * features)


def with_planes(features) -> np.ndarray:
    """Appends the one-hot planes of actions 2 and 0: [36, B, ·] → [36, B, · + M]."""
    planes = np.zeros([36, B, M], np.float32)
    planes[:, 0, 2] = planes[:, 1, 0] = 1.0
    return np.concatenate([features, planes], axis=-1)


def test_cells_are_chained_and_see_the_action(direct, step_arguments):
    embedded, actions = step_arguments
    draw = np.random.default_rng(1)
    state = tf.nest.map_structure(
        lambda zeros: tf.constant(draw.normal(size=zeros.shape), tf.float32),
        direct.initial_state(B),
    )
    y, new_state = direct(embedded, actions, state)
    first = direct.cell_1(with_planes(embedded), state.cell_1)
    second = direct.cell_2(with_planes(first.hidden), state.cell_2)
    np.testing.assert_allclose(y, with_planes(second.hidden), atol=1e-6)
    tf.nest.map_structure(
        lambda ours, expected: np.testing.assert_allclose(ours, expected, atol=1e-6),
        new_state,
        DynamicsState(first, second),
    )


def test_direct_and_fast_dream_alike(direct, step_arguments):
    embedded, actions = step_arguments
    fast = Dynamics(**SIZES, convolution="fast")
    for ours, theirs in zip(fast.variables, direct.variables, strict=True):
        assert ours.shape == theirs.shape
        ours.assign(theirs)
    outputs = []
    for dynamics in (direct, fast):
        state, kernels = dynamics.initial_state(B), dynamics.prepare()
        for _ in range(5):
            y, state = dynamics(embedded, actions, state, kernels)
        codes = tf.zeros([B, 6, 6], tf.int32)
        outputs.append((y, dynamics.latent_logits(y, codes), dynamics.reward_logits(y)))
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-5)


def test_latent_logits_belong_to_their_cells(direct):
    y = np.random.default_rng(2).normal(size=[36, B, C + M]).astype(np.float32)
    codes = np.random.default_rng(4).integers(K, size=[B, 6, 6])
    expected = dense(y, direct.latent_head)
    for bonus in (0.0, 7.0):
        direct.present_code_logit = bonus
        logits = direct.latent_logits(tf.constant(y), tf.constant(codes))
        assert logits.shape == [B, 6, 6, K]
        for b in range(B):
            for cell in range(36):
                row, column = divmod(cell, 6)
                wanted = expected[cell, b] + bonus * (np.arange(K) == codes[b, row, column])
                np.testing.assert_allclose(logits[b, row, column], wanted, atol=1e-5)
    direct.present_code_logit = 0.0


def test_the_reward_head_equals_numpy(direct):
    head = direct.reward_head
    draw = np.random.default_rng(3)
    for variable in (head.norm.scale, head.norm.offset):
        variable.assign(draw.normal(size=variable.shape))
    for scale in (1.0, 3e-3):  # the small one lets the layer norm's epsilon matter
        y = (scale * draw.normal(size=[36, B, C + M])).astype(np.float32)
        features = dense(y, head.convolution)
        if scale < 1:  # without its bias the variance is small
            bias = head.convolution.bias.numpy()
            head.convolution.bias.assign(np.zeros_like(bias))
            features = features - bias
        mean = features.mean(axis=(0, 2), keepdims=True)
        deviation = np.sqrt(features.var(axis=(0, 2), keepdims=True) + 1e-5)
        normal = (features - mean) / deviation * head.norm.scale.numpy() + head.norm.offset.numpy()
        flat = leaky_relu(normal).transpose(1, 0, 2).reshape(B, -1)
        expected = dense(leaky_relu(dense(flat, head.hidden)), head.logits)
        np.testing.assert_allclose(direct.reward_logits(tf.constant(y)), expected, atol=1e-4)


def test_rewards_are_clipped_rounded_and_given_back():
    raw = [-400.0, -1.0, -0.6, -0.4, 0.0, 0.4, 0.6, 1.0, 25.0]
    classes = reward_classes(tf.constant(raw))
    np.testing.assert_array_equal(classes, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert classes.dtype == tf.int32
    np.testing.assert_array_equal(class_rewards(tf.constant([0, 1, 2])), [-1.0, 0.0, 1.0])


def test_the_distributions_are_sums_of_log_softmax():
    draw = np.random.default_rng(4)
    logits = draw.normal(size=[B, 6, 6, K]).astype(np.float32)
    codes = draw.integers(K, size=[B, 6, 6])
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    expected = [
        sum(log_p[b, y, x, codes[b, y, x]] for y in range(6) for x in range(6)) for b in range(B)
    ]
    np.testing.assert_allclose(latent_distribution(logits).log_prob(codes), expected, rtol=1e-5)
    rewards = reward_distribution(logits[0, 0, :2, :3])
    three = logits[0, 0, :2, :3]
    np.testing.assert_allclose(
        rewards.log_prob([0, 2]),
        [
            three[0, 0] - np.log(np.exp(three[0]).sum()),
            three[1, 2] - np.log(np.exp(three[1]).sum()),
        ],
        rtol=1e-5,
    )
