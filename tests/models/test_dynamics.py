"""The dynamics network: how its parts are joined, and its two heads against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.models.code_heads import GivenRewardCodeHead, IndependentCodes
from smallwm_tf.models.dynamics import Dynamics
from smallwm_tf.models.event_heads import (
    RewardDistribution,
    RewardHead,
    Transition,
    class_rewards,
    drop_units,
    reward_classes,
)
from smallwm_tf.models.execution import DIRECT, FAST

B, M, K, D, C = 2, 3, 16, 4, 8
CONFIG = build_config({"vqvae.num_embeddings": K, "vqvae.embedding_dim": D, "dynamics.channels": C})


@pytest.fixture(scope="module")
def direct():
    return Dynamics(CONFIG, M, DIRECT)


@pytest.fixture(scope="module")
def step_arguments():
    draw = np.random.default_rng(0)
    embedded = tf.constant(draw.normal(size=[36, B, D]), tf.float32)
    return embedded, tf.constant([2, 0])


def dense(features: np.ndarray, layer) -> np.ndarray:
    return np.asarray(features, np.float64) @ layer.kernel.numpy() + layer.bias.numpy()


def leaky_relu(features: np.ndarray) -> np.ndarray:
    return np.where(features > 0, features, 0.01 * features)


def reward_logits(dynamics: Dynamics, y) -> tf.Tensor:
    nothing = tf.zeros([B, 6, 6], tf.int32)  # the paper's head looks at y alone
    transition = Transition(tf.constant(y), nothing, tf.zeros([B], tf.int32))
    return dynamics.event_head.distribution(transition).logits


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
        direct.stack.initial_state(B),
    )
    y, new_state = direct.stack.step(embedded, actions, state)
    lower, upper = direct.stack.cells
    first = lower(with_planes(embedded), state[0])
    second = upper(with_planes(first.hidden), state[1])
    np.testing.assert_allclose(y, with_planes(second.hidden), atol=1e-6)
    tf.nest.map_structure(
        lambda ours, expected: np.testing.assert_allclose(ours, expected, atol=1e-6),
        new_state,
        (first, second),
    )


def test_direct_and_fast_dream_alike(direct, step_arguments):
    embedded, actions = step_arguments
    fast = Dynamics(CONFIG, M, FAST)
    for ours, theirs in zip(fast.variables, direct.variables, strict=True):
        assert ours.shape == theirs.shape
        ours.assign(theirs)
    outputs = []
    for dynamics in (direct, fast):
        stack = dynamics.stack
        state, kernels = stack.initial_state(B), stack.prepare()
        for _ in range(5):
            y, state = stack.step(embedded, actions, state, kernels)
        codes = tf.zeros([B, 6, 6], tf.int32)
        next_codes = dynamics.code_head.distribution(y, codes)
        outputs.append((y, next_codes.logits, reward_logits(dynamics, y)))
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-5)


def test_logits_of_codes_belong_to_their_cells(direct):
    y = np.random.default_rng(2).normal(size=[36, B, C + M]).astype(np.float32)
    codes = np.random.default_rng(4).integers(K, size=[B, 6, 6])
    expected = dense(y, direct.code_head.convolution)
    for bonus in (0.0, 7.0):
        direct.code_head.present_code_logit = bonus
        logits = direct.code_head.distribution(tf.constant(y), tf.constant(codes)).logits
        assert logits.shape == [B, 6, 6, K]
        for b in range(B):
            for cell in range(36):
                row, column = divmod(cell, 6)
                wanted = expected[cell, b] + bonus * (np.arange(K) == codes[b, row, column])
                np.testing.assert_allclose(logits[b, row, column], wanted, atol=1e-5)
    direct.code_head.present_code_logit = 0.0


def test_the_reward_head_equals_numpy(direct):
    head = direct.event_head
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
        np.testing.assert_allclose(reward_logits(direct, y), expected, atol=1e-4)


def test_rewards_are_clipped_rounded_and_given_back():
    raw = [-400.0, -1.0, -0.6, -0.4, 0.0, 0.4, 0.6, 1.0, 25.0]
    classes = reward_classes(tf.constant(raw))
    np.testing.assert_array_equal(classes, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert classes.dtype == tf.int32
    np.testing.assert_array_equal(class_rewards(tf.constant([0, 1, 2])), [-1.0, 0.0, 1.0])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_the_distribution_of_codes_against_numpy():
    draw = np.random.default_rng(4)
    logits = draw.normal(size=[B, 6, 6, K]).astype(np.float32)
    codes = draw.integers(K, size=[B, 6, 6])
    log_p = log_softmax(logits)
    expected = [
        sum(log_p[b, y, x, codes[b, y, x]] for y in range(6) for x in range(6)) for b in range(B)
    ]
    distribution = IndependentCodes(tf.constant(logits))
    np.testing.assert_allclose(distribution.log_prob(codes), expected, rtol=1e-5)
    np.testing.assert_array_equal(distribution.mode(), logits.argmax(axis=-1))
    tempered = log_softmax(logits / 0.5)
    entropy = -(np.exp(tempered) * tempered).sum(axis=-1)
    np.testing.assert_allclose(distribution.entropy(codes, 0.5), entropy, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_codes_are_drawn_as_often_as_their_probability_says(temperature):
    logits = np.log(np.array([0.6, 0.3, 0.1], np.float32))
    count = 300
    distribution = IndependentCodes(tf.constant(np.tile(logits, [count, 6, 6, 1])))
    drawn = distribution.sample(tf.constant([7, 8]), temperature).numpy()
    assert drawn.dtype == np.int32 and drawn.shape == (count, 6, 6)
    expected = np.exp(log_softmax(logits / temperature))
    shares = np.bincount(drawn.ravel(), minlength=3) / drawn.size
    np.testing.assert_allclose(shares, expected, atol=0.02)
    # Every cell of every grid is drawn by itself.
    by_cell = (drawn == 0).mean(axis=0)
    assert by_cell.std() > 0.01 and np.abs(by_cell - expected[0]).max() < 0.15


def test_the_distribution_of_rewards_against_numpy():
    logits = np.random.default_rng(5).normal(size=[2, 3]).astype(np.float32)
    log_p = log_softmax(logits)
    distribution = RewardDistribution(tf.constant(logits))
    np.testing.assert_allclose(distribution.log_prob([0, 2]), [log_p[0, 0], log_p[1, 2]], rtol=1e-5)
    np.testing.assert_allclose(distribution.probabilities(), np.exp(log_p), rtol=1e-5)
    np.testing.assert_allclose(distribution.mean(), np.exp(log_p) @ [-1, 0, 1], rtol=1e-4)
    np.testing.assert_array_equal(distribution.mode(), logits.argmax(axis=-1) - 1.0)
    many = RewardDistribution(tf.repeat(logits[:1], 4000, axis=0))
    drawn = many.sample(tf.constant([1, 2])).numpy()
    shares = [np.mean(drawn == reward) for reward in (-1.0, 0.0, 1.0)]
    np.testing.assert_allclose(shares, np.exp(log_p[0]), atol=0.03)


def test_codes_given_a_reward_come_from_the_kernel_of_that_reward():
    head = GivenRewardCodeHead(K, C + M, present_code_logit=2.0)
    draw = np.random.default_rng(3)
    y = draw.normal(size=[36, B, C + M]).astype(np.float32)
    codes = draw.integers(K, size=[B, 6, 6])
    rewards = np.array([-5.0, 0.0, 3.0, 1.0])[np.arange(B) % 4]
    found = head.distribution(tf.constant(y), tf.constant(codes)).given(tf.constant(rewards))
    kernel, bias = head.convolution.get_weights()
    for b in range(B):
        part = slice((int(np.sign(rewards[b])) + 1) * K, (int(np.sign(rewards[b])) + 2) * K)
        for cell in range(36):
            place = divmod(cell, 6)
            expected = y[cell, b] @ kernel[:, part] + bias[part]
            expected[codes[b][place]] += 2.0
            np.testing.assert_allclose(found.logits[b][place], expected, atol=1e-4)


def test_codes_drawn_from_nothing_finite_are_codes_all_the_same():
    distribution = IndependentCodes(tf.fill([1, 6, 6, K], np.nan))
    assert np.all(distribution.sample(tf.constant([1, 2])) < K)


def test_dropout_leaves_out_its_share_in_training_only():
    head = RewardHead(C + M, False, dropout=0.4)
    values, seed = tf.ones([50, 200]), tf.constant([3, 4])
    dropped = drop_units(values, 0.4, seed, 0).numpy()
    np.testing.assert_allclose(np.unique(dropped), [0.0, 1.0 / 0.6], rtol=1e-5)
    assert abs(np.mean(dropped == 0.0) - 0.4) < 0.02  # 10,000 values
    assert not np.array_equal(dropped, drop_units(values, 0.4, seed, 1))
    draw = np.random.default_rng(5)
    y = tf.constant(draw.normal(size=[36, B, C + M]), tf.float32)
    transition = Transition(y, tf.zeros([B, 6, 6], tf.int32), tf.zeros([B], tf.int32))
    plain, again = (head.distribution(transition).logits for _ in range(2))
    trained = head.distribution(transition, seed).logits
    np.testing.assert_array_equal(plain, again)
    np.testing.assert_array_equal(trained, head.distribution(transition, seed).logits)
    assert not np.allclose(plain, trained)
    without = RewardHead(C + M, False)
    without.set_weights(head.get_weights())
    np.testing.assert_array_equal(plain, without.distribution(transition, seed).logits)
