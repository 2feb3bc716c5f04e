"""Acting and inspecting, recomputed from the networks' parts."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from smallwm_tf.agents.actor import Actor

from smallwm_tf.experiment.config import build_config
from smallwm_tf.judging.open_loop import longest_start, open_loop, reconstruct
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.build import build_models

F, M, STEPS = 2, 4, 14


@pytest.fixture(scope="module")
def models():
    tf.keras.utils.set_random_seed(5)
    config = build_config(
        {
            "game.num_stacked_frames": F,
            "dynamics.channels": 4,
            "dynamics.convolution": "direct",
            "vqvae.num_embeddings": 16,
        }
    )
    world_model, policy = build_models(config, num_actions=M)
    policy.logits.kernel.assign(20 * policy.logits.kernel)
    return world_model, policy


@pytest.fixture(scope="module")
def replay():
    """Episodes of 6 steps and of 8 so far."""
    draw = np.random.default_rng(0)
    buffer = Replay(20)
    buffer.append(
        frames=draw.integers(256, size=[STEPS, 96, 96], dtype=np.uint8),
        actions=draw.integers(M, size=STEPS),
        rewards=draw.integers(-4, 5, size=STEPS),
        ended=np.arange(STEPS) == 5,
    )
    return buffer


def policy_logits(models, observations) -> tf.Tensor:
    world_model, policy = models
    vectors = world_model.vqvae.quantizer.lookup(world_model.vqvae.encode(observations))
    flat = tf.reshape(vectors, [len(observations), 36, -1])
    return policy(tf.transpose(flat, [1, 0, 2]))[0]


def test_actions_are_drawn_from_the_policy_at_the_temperature(models, replay):
    actor = Actor(models[0].vqvae, models[1])
    observations = replay.observations(tf.range(9), F).numpy()
    pair = tf.constant([3, 4])
    logits = policy_logits(models, observations)
    for temperature, step in [(1.0, 0), (1.0, 7), (1.5, 7), (30.0, 7)]:
        seed = tf.random.experimental.stateless_fold_in(pair, step)
        expected = tfp.distributions.Categorical(logits / temperature).sample(seed=seed)
        actions = actor.act(observations, temperature, pair, step)
        np.testing.assert_array_equal(actions, expected)
    cold = actor.act(observations, 1e-4, pair, 0)
    np.testing.assert_array_equal(cold, np.argmax(logits, axis=-1))
    draws = {tuple(actor.act(observations, 30.0, pair, step)) for step in range(5)}
    assert len(draws) == 5


def test_actions_come_as_often_as_the_policy_says(models, replay):
    world_model, policy = models
    actor = Actor(world_model.vqvae, policy)
    observations = replay.observations(tf.fill([64], 3), F).numpy()
    temperature = float(np.ptp(policy_logits(models, observations[:1]).numpy())) / 2
    expected = tf.nn.softmax(policy_logits(models, observations[:1])[0] / temperature).numpy()
    pair = tf.constant([5, 6])
    drawn = np.concatenate([actor.act(observations, temperature, pair, t) for t in range(60)])
    shares = np.bincount(drawn, minlength=M) / len(drawn)
    assert expected.max() > 1.5 * expected.min()
    spread = np.sqrt(expected * (1 - expected) / len(drawn))
    assert np.all(np.abs(shares - expected) < 4 * spread)


@pytest.mark.parametrize("counts", [(5, 7), (9, 12)])  # few and many observations
def test_graphs_serve_many_batch_sizes(counts):
    world_model, policy = models = build_models(build_config({"dynamics.channels": 4}), M)
    noise = np.random.default_rng(0).integers(256, size=[12, 96, 96, 4], dtype=np.uint8)
    norm, kernel = world_model.vqvae.encoder.projection_norm, policy.conv_5x5.kernel
    norm.gamma.assign(1000.0 * norm.gamma)  # far apart, the vectors have different codes
    for seed in range(100):  # weights under which actions differ from observation to observation
        kernel.assign(np.random.default_rng(seed).normal(scale=9, size=kernel.shape))
        expected = np.argmax(policy_logits(models, noise), axis=-1)
        if len(set(expected[: counts[0]])) > 1:
            break
    actor = Actor(world_model.vqvae, policy)
    for count in counts:
        actions = actor.act(noise[:count], 1e-4, tf.constant([1, 2]), 0)
        np.testing.assert_array_equal(actions, expected[:count])
    assert len(set(expected[: counts[0]])) > 1
    assert len(actor._graphs) == 1


def test_reconstructions_are_means_of_the_decoded_codes(models, replay):
    world_model, _ = models
    steps = np.array([0, 6, 13])
    shown = reconstruct(world_model, replay, steps)
    np.testing.assert_array_equal(shown.frames, replay.frames.numpy()[steps])
    codes = world_model.vqvae.encode(replay.observations(tf.constant(steps, tf.int32), F))
    np.testing.assert_array_equal(shown.codes, codes)
    logits = world_model.vqvae.decoder(world_model.vqvae.quantizer.lookup(codes))
    means = tfp.distributions.ContinuousBernoulli(logits=logits).mean()[..., -1].numpy()
    difference = shown.reconstructions.astype(float) - 255 * means
    assert np.abs(difference).max() <= 0.51


def test_the_open_loop_dream_takes_the_real_actions(models, replay):
    world_model, _ = models
    start, length, pair = 7, 5, np.array([1, 2], np.int32)
    loop = open_loop(world_model, replay, start, length, pair)
    codes = tf.constant(loop.real.codes[:1])
    state = world_model.dynamics.initial_state(1)
    for t in range(length):
        np.testing.assert_array_equal(loop.dreamed_codes[t], codes[0])
        action = replay.actions.numpy()[start + t : start + t + 1]
        latent, reward, state = world_model.step(codes, action, state)
        seed = tf.random.experimental.stateless_fold_in(pair, t)
        codes = tfp.distributions.Categorical(latent).sample(seed=seed)
        seed = tf.random.experimental.stateless_fold_in(seed, 1)
        expected = tfp.distributions.Categorical(reward).sample(seed=seed) - 1
        assert loop.dreamed_rewards[t] == expected[0]
    clipped = np.clip(replay.rewards.numpy()[start : start + length], -1, 1)
    np.testing.assert_array_equal(loop.real_rewards, clipped)
    assert loop.dreamed.shape == (length, 96, 96) and loop.dreamed.dtype == np.uint8


@pytest.mark.parametrize("seed", range(5))
def test_the_shown_steps_lie_in_one_episode_of_the_newer_half(replay, seed):
    start, length = longest_start(replay, 4, np.random.default_rng(seed))
    assert start >= STEPS // 2 and 1 <= length <= 4
    starts = replay.episode_starts.numpy()[:STEPS]
    assert start + length <= STEPS
    assert len(set(starts[start : start + length])) == 1
    assert length == 4  # 16 candidates in 7 places: one of them leaves enough


@pytest.mark.parametrize("count", [1, 9])  # few and many observations take different ways
def test_the_actor_uses_the_weights_of_its_last_refresh(count):
    settings = {"dynamics.channels": 4, "dynamics.convolution": "fast"}
    models = build_models(build_config(settings), num_actions=M)
    actor = Actor(models[0].vqvae, models[1])
    observations = np.random.default_rng(0).integers(256, size=[count, 96, 96, 4], dtype=np.uint8)

    def greedy_actions() -> np.ndarray:
        return actor.act(observations, 1e-6, tf.constant([1, 2]), 0)

    old = np.argmax(policy_logits(models, observations), axis=-1)
    np.testing.assert_array_equal(greedy_actions(), old)
    kernel, norm = models[1].conv_5x5.kernel, models[0].vqvae.encoder.projection_norm
    for seed in range(100):  # weights under which the actions are others
        kernel.assign(np.random.default_rng(seed).normal(size=kernel.shape))
        norm.beta.assign(np.random.default_rng(seed).normal(size=norm.beta.shape))
        new = np.argmax(policy_logits(models, observations), axis=-1)
        if not np.array_equal(new, old):
            break
    np.testing.assert_array_equal(greedy_actions(), old)
    actor.refresh()
    np.testing.assert_array_equal(greedy_actions(), new)
