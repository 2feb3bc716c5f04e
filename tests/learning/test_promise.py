"""The same policy from the same starts, in the dream and in Catch itself."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.config import build_config
from smallwm_tf.envs.real_game import RealGame
from smallwm_tf.learning.acting import Actor
from smallwm_tf.learning.promise import Promise, dreamed_rewards, find_starts, real_rewards
from smallwm_tf.models.build import build_models

M, S, H = 3, 5, 30  # episodes of Catch last 12 steps
SETTINGS = {
    "game.num_stacked_frames": 1,
    "vqvae.num_embeddings": 8,
    "dynamics.channels": 4,
    "dynamics.convolution": "direct",
}
PAIR = tf.constant([3, 4])


@pytest.fixture(scope="module")
def models():
    return build_models(build_config(SETTINGS), num_actions=M)


def be_certain(policy, action: int) -> None:
    policy.logits.kernel.assign(tf.zeros_like(policy.logits.kernel))
    policy.logits.bias.assign(100.0 * tf.one_hot(action, M))


def open_catch() -> RealGame:
    game = RealGame("Catch", 1, seed=11)
    game.reset()
    return game


@pytest.mark.parametrize("action", [0, 2])
def test_the_real_game_is_set_back_to_each_start_and_pays_until_the_episode_ends(models, action):
    world_model, policy = models
    be_certain(policy, action)
    actor = Actor(world_model.vqvae, policy)
    interval = 5
    starts = find_starts(open_catch(), actor, S, interval, 1.0, PAIR)
    rewards = real_rewards(open_catch(), actor, starts, H, 1.0, PAIR)

    # The same play once more, by hand: one long sequence of rewards and ends.
    game = open_catch()
    observations, paid, ended = [], [], []
    time_step = game.current_time_step()
    for _ in range((S - 1) * interval + 1 + H):
        observations.append(time_step.observation.copy())
        time_step = game.step(np.int32(action))
        paid.append(float(time_step.reward))
        ended.append(bool(time_step.is_last()))
        if ended[-1]:
            time_step = game.reset()
    assert starts.observations.shape == (S, 96, 96, 1)
    for number in range(S):
        first = number * interval
        np.testing.assert_array_equal(starts.observations[number], observations[first])
        expected = np.zeros(H)
        for step in range(H):
            expected[step] = paid[first + step]
            if ended[first + step]:
                break
        np.testing.assert_array_equal(rewards[number], expected)
    assert np.abs(rewards).sum() > 0


def test_dreams_pay_what_the_world_model_says_for_the_policys_actions(models, monkeypatch):
    world_model, policy = models
    original = world_model.step

    def paying(codes, actions, state, kernels=None):
        latent, _, state = original(codes, actions, state, kernels)
        return latent, 100.0 * tf.one_hot(actions, 3), state  # action 0 pays −1, 1 pays 0, 2 pays 1

    monkeypatch.setattr(world_model, "step", paying)
    observations = np.zeros([S, 96, 96, 1], np.uint8)
    for action in range(M):
        be_certain(policy, action)
        rewards = dreamed_rewards(world_model, policy, observations, H, 1.0, PAIR)
        np.testing.assert_array_equal(rewards, np.full([S, H], action - 1))
    policy.logits.bias.assign(tf.zeros(M))
    mixed = dreamed_rewards(world_model, policy, observations, H, 1.0, PAIR)
    assert set(np.unique(mixed)) == {-1.0, 0.0, 1.0}
    again = dreamed_rewards(world_model, policy, observations, H, 1.0, PAIR)
    np.testing.assert_array_equal(mixed, again)


def test_the_gap_and_its_error_by_hand():
    dreamed = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    real = np.array([[0.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    promise = Promise(dreamed, real)
    assert promise.gap == pytest.approx(1.0)  # differences 2, 0, 1
    assert promise.gap_error == pytest.approx(1.0 / np.sqrt(3))
    assert Promise(dreamed[:1], real[:1]).gap_error == 0.0
