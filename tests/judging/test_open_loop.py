"""Open loop against single steps: the predictions, and the record that figures are drawn from."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.judging.open_loop import longest_start, open_loop, start_at, unroll
from smallwm_tf.models.build import build_models
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from tests.made_replays import made_replay

M, F, STEPS, H = 3, 2, 12, 5
PAIR = np.array([3, -9], np.int32)
CERTAIN = 1e-6  # at this temperature a drawn code is the most probable one


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
    head = world_model.dynamics.event_head.logits
    head.kernel.assign(5e4 * head.kernel)  # rewards of all three kinds, beyond doubt
    head.bias.assign(tf.zeros_like(head.bias))
    rewards = np.random.default_rng(0).normal(scale=2.0, size=STEPS)
    replay = made_replay(STEPS, M, rewards=rewards, terminated=np.arange(STEPS) == 2)
    codes = world_model.vqvae.encode(replay.observations(tf.range(STEPS), F))
    return SimpleNamespace(model=world_model, replay=replay, codes=codes.numpy())


def reward_head(world, y) -> np.ndarray:
    """Logits [S, 3] of the paper's head, which looks at y alone."""
    head = world.model.dynamics.event_head
    features = head.norm(head.convolution(y)).numpy().transpose(1, 0, 2).reshape(y.shape[1], -1)
    hidden = features @ head.hidden.kernel.numpy() + head.hidden.bias.numpy()
    hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
    return hidden @ head.logits.kernel.numpy()


def by_hand(world, codes, actions, state) -> tuple[np.ndarray, np.ndarray]:
    """Most probable codes [S, H, 6, 6], fed back, and rewards [S, H]."""
    all_codes, rewards = [], []
    for t in range(actions.shape[1]):
        found = world.model.predict(tf.constant(codes), actions[:, t], state)
        codes, state = np.argmax(found.next_codes.logits, axis=-1).astype(np.int32), found.state
        rewards.append(np.argmax(reward_head(world, found.y), axis=-1) - 1.0)
        all_codes.append(codes)
    return np.stack(all_codes, axis=1), np.stack(rewards, axis=1)


def dreamer_of(world, **settings) -> Dreamer:
    return Dreamer(world.model, DreamSettings(**({"temperature": CERTAIN} | settings)))


@pytest.mark.parametrize("seed", [None, PAIR])
def test_predictions_are_fed_back(world, seed):
    starts = np.array([3, 7, 0])
    actions = np.random.default_rng(1).integers(M, size=[3, H]).astype(np.int32)
    dreamer = dreamer_of(world)
    state = start_at(dreamer, world.replay, starts)
    np.testing.assert_array_equal(state.codes, world.codes[starts])
    unrolled = unroll(dreamer, state, tf.constant(actions), seed)
    zeros = world.model.initial_state(3)
    expected_codes, expected_rewards = by_hand(world, world.codes[starts], actions, zeros)
    assert unrolled.codes.shape == (3, H, 6, 6)
    np.testing.assert_array_equal(unrolled.codes, expected_codes)
    np.testing.assert_array_equal(unrolled.rewards, expected_rewards)
    assert len(np.unique(expected_codes)) > 2 and len(np.unique(expected_rewards)) > 1


def test_drawn_codes_follow_the_seed_and_every_step_draws_anew(world):
    dreamer = dreamer_of(world, temperature=1.0)
    state = start_at(dreamer, world.replay, np.array([3]))
    actions = tf.zeros([1, 2], tf.int32)
    one, again, other = (
        unroll(dreamer, state, actions, pair).codes for pair in (PAIR, PAIR, PAIR + 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("start", "context_steps", "num_seen"), [(6, 0, 0), (6, 2, 2), (5, 9, 2)])
@pytest.mark.parametrize("temperature", [CERTAIN, 0.0])
def test_a_dream_beside_reality_begins_with_its_code(
    world, start, context_steps, num_seen, temperature
):
    """An episode begins with step 3: a long context reaches back no further."""
    state = world.model.initial_state(1)
    actions = world.replay.actions.numpy()
    for step in range(start - num_seen, start):
        one = slice(step, step + 1)
        state = world.model.predict(tf.constant(world.codes[one]), actions[one], state).state
    steps = slice(start, start + H)
    first, taken = world.codes[start : start + 1], actions[np.newaxis, steps]
    codes, rewards = by_hand(world, first, taken, state)
    dreamer = dreamer_of(world, context_steps=context_steps, temperature=temperature)
    loop = open_loop(dreamer, world.replay, start, H, PAIR)
    np.testing.assert_array_equal(loop.real.codes, world.codes[steps])
    np.testing.assert_array_equal(loop.real.frames, world.replay.frames.numpy()[steps])
    np.testing.assert_array_equal(loop.dreamed_codes[0], world.codes[start])
    np.testing.assert_array_equal(loop.dreamed_codes[1:], codes[0, :-1])
    np.testing.assert_array_equal(loop.dreamed_rewards, rewards[0])
    real = np.round(np.clip(world.replay.rewards.numpy()[steps], -1, 1))
    np.testing.assert_array_equal(loop.real_rewards, real)
    means = world.model.vqvae.decode(tf.constant(loop.dreamed_codes)).mean()[..., -1].numpy()
    np.testing.assert_allclose(loop.dreamed.astype(float), 255.0 * means, atol=0.51)


def test_the_longest_start_stays_in_its_episode_and_in_the_newest_half(world):
    for seed in range(5):
        start, length = longest_start(world.replay, 4, np.random.default_rng(seed))
        assert STEPS // 2 <= start < STEPS and length == min(4, STEPS - start)
