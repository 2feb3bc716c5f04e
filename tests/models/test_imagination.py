"""Open loop against single steps: the predictions, and the record that figures are drawn from."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from smallwm_tf.experiment.config import build_config
from smallwm_tf.judging.open_loop import open_loop
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.build import build_models
from smallwm_tf.models.imagination import unroll

M, F, STEPS, H = 3, 2, 12, 5
PAIR, TEMPERATURE = np.array([3, -9], np.int32), 0.5


@pytest.fixture(scope="module")
def world():
    tf.keras.utils.set_random_seed(4)
    settings = {
        "game.num_stacked_frames": F,
        "vqvae.num_embeddings": 8,
        "dynamics.channels": 4,
        "dynamics.convolution": "direct",
    }
    world_model, _ = build_models(build_config(settings), num_actions=M)
    norm = world_model.vqvae.encoder.projection_norm
    norm.gamma.assign(1000.0 * norm.gamma)  # far apart, the vectors have different codes
    head = world_model.dynamics.reward_head.logits
    head.kernel.assign(5.0 * head.kernel)  # rewards of all three kinds
    head.bias.assign(tf.zeros_like(head.bias))
    draw = np.random.default_rng(0)
    replay = Replay(STEPS)
    replay.append(
        frames=draw.integers(256, size=[STEPS, 96, 96], dtype=np.uint8),
        actions=draw.integers(M, size=STEPS),
        rewards=draw.normal(scale=2.0, size=STEPS),
        ended=np.arange(STEPS) == 2,
    )
    codes = world_model.vqvae.encode(replay.observations(tf.range(STEPS), F))
    return SimpleNamespace(model=world_model, replay=replay, codes=codes.numpy())


def by_hand(world, codes, actions, state, seed, temperature) -> tuple[np.ndarray, np.ndarray]:
    """Codes [S, H, 6, 6] and rewards [S, H]; the step is folded into the seed, 1 for rewards."""
    all_codes, rewards = [], []
    for t in range(actions.shape[1]):
        latent, reward, state = world.model.step(codes, actions[:, t], state)
        if seed is None:
            codes = np.argmax(latent, axis=-1).astype(np.int32)
            rewards.append(np.argmax(reward, axis=-1) - 1.0)
        else:
            pair = tf.random.experimental.stateless_fold_in(seed, t)
            codes = tfp.distributions.Categorical(latent / temperature).sample(seed=pair).numpy()
            pair = tf.random.experimental.stateless_fold_in(pair, 1)
            rewards.append(tfp.distributions.Categorical(reward).sample(seed=pair).numpy() - 1.0)
        all_codes.append(codes)
    return np.stack(all_codes, axis=1), np.stack(rewards, axis=1)


@pytest.mark.parametrize("seed", [None, PAIR])
def test_predictions_are_fed_back_from_any_state(world, seed):
    codes = world.codes[[3, 7, 0]]
    actions = np.random.default_rng(1).integers(M, size=[3, H]).astype(np.int32)
    zeros = world.model.dynamics.initial_state(3)
    _, _, warm = world.model.step(world.codes[[2, 6, 1]], actions[:, 0], zeros)
    for state in (zeros, warm):
        inputs = (tf.constant(codes), tf.constant(actions), state, seed, TEMPERATURE)
        unrolled = unroll(world.model, *inputs)
        expected_codes, expected_rewards = by_hand(world, codes, actions, state, seed, TEMPERATURE)
        assert unrolled.codes.shape == (3, H, 6, 6)
        np.testing.assert_array_equal(unrolled.codes, expected_codes)
        np.testing.assert_array_equal(unrolled.rewards, expected_rewards)
        assert len(np.unique(expected_codes)) > 2


@pytest.mark.parametrize(("start", "context_steps", "num_seen"), [(6, 0, 0), (6, 2, 2), (5, 9, 2)])
def test_a_dream_beside_reality_begins_with_its_code(world, start, context_steps, num_seen):
    """An episode begins with step 3: a long context reaches back no further."""
    state = world.model.dynamics.initial_state(1)
    actions = world.replay.actions.numpy()
    for step in range(start - num_seen, start):
        _, _, state = world.model.step(
            world.codes[step : step + 1], actions[step : step + 1], state
        )
    steps = slice(start, start + H)
    first, taken = world.codes[start : start + 1], actions[np.newaxis, steps]
    codes, rewards = by_hand(world, first, taken, state, PAIR, TEMPERATURE)
    loop = open_loop(world.model, world.replay, start, H, PAIR, context_steps, TEMPERATURE)
    np.testing.assert_array_equal(loop.real.codes, world.codes[steps])
    np.testing.assert_array_equal(loop.real.frames, world.replay.frames.numpy()[steps])
    np.testing.assert_array_equal(loop.dreamed_codes[0], world.codes[start])
    np.testing.assert_array_equal(loop.dreamed_codes[1:], codes[0, :-1])
    np.testing.assert_array_equal(loop.dreamed_rewards, rewards[0])
    real = np.round(np.clip(world.replay.rewards.numpy()[steps], -1, 1))
    np.testing.assert_array_equal(loop.real_rewards, real)
    means = world.model.vqvae.decode(tf.constant(loop.dreamed_codes)).mean()[..., -1].numpy()
    np.testing.assert_allclose(loop.dreamed.astype(float), 255.0 * means, atol=0.51)
