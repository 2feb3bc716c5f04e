"""Rewards along dreams of a world model that is written by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.judging.dream_rewards import rewards_along_dreams
from smallwm_tf.models.event_heads import RewardDistribution
from smallwm_tf.models.imagination import DreamState, DreamStep
from tests.made_replays import made_replay

STEPS, LENGTH, HORIZON = 120, 12, 4  # of episodes, of one, of a dream


class CountingDreamer:
    """Knows at which step of its episode it is, and pays in every fourth one; unsure later."""

    settings = SimpleNamespace(context_steps=0)
    world_model = SimpleNamespace(num_stacked_frames=1)

    def start(self, observations, past):
        return DreamState(tf.cast(observations[:, :6, :6, 0], tf.int32), (), ())

    def step(self, state, actions, seed):
        number = state.codes[:, 0, 0]
        sure = tf.where(number % 4 == 3, 4.0, -4.0)
        logits = tf.stack([tf.fill(tf.shape(sure), -20.0), tf.zeros_like(sure), sure], axis=1)
        codes = state.codes + 1
        following = DreamState(codes, (), ())
        return DreamStep(
            codes, sure, tf.ones_like(sure), None, RewardDistribution(logits)
        ), following

    compiled_step = step


def replay_of(rewards):
    numbers = np.arange(STEPS) % LENGTH
    frames = np.broadcast_to(numbers[:, None, None], [STEPS, 96, 96]).astype(np.uint8)
    return made_replay(STEPS, frames=frames, rewards=rewards, terminated=numbers == LENGTH - 1)


def test_a_dream_that_knows_has_skill_at_every_step_and_pays_as_often():
    replay = replay_of(np.arange(STEPS) % 4 == 3)
    found = rewards_along_dreams(CountingDreamer(), replay, HORIZON, np.array([0, 1], np.int32))
    right = 1.0 / (1.0 + np.exp(-4.0))
    for t in range(HORIZON):
        ahead = [s + t for s in range(STEPS) if s // LENGTH == (s + t) // LENGTH]
        share = np.mean([step % 4 == 3 for step in ahead])
        entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
        np.testing.assert_allclose(found.skill[t], 1.0 + np.log(right) / entropy, rtol=1e-4)
    np.testing.assert_allclose(found.auc, [[np.nan, 1.0, 1.0]] * HORIZON)
    counts = [s + t for t in range(HORIZON) for s in range(STEPS) if s % LENGTH + t < LENGTH]
    real = np.mean([step % 4 == 3 for step in counts])
    np.testing.assert_allclose(found.real_rate, real)
    np.testing.assert_allclose(found.dreamed_rate, real * right + (1 - real) * (1 - right), 1e-4)


def test_a_dream_that_is_sure_of_what_does_not_happen_is_below_the_base_rate():
    replay = replay_of(np.arange(STEPS) % 4 == 1)
    found = rewards_along_dreams(CountingDreamer(), replay, HORIZON, np.array([0, 1], np.int32))
    assert (found.skill < -1.0).all() and (found.auc[:, 2] < 0.5).all()


def test_without_rewards_nothing_can_be_said():
    replay = replay_of(np.zeros(STEPS))
    found = rewards_along_dreams(CountingDreamer(), replay, HORIZON, np.array([0, 1], np.int32))
    assert np.isnan(found.skill).all() and np.isnan(found.auc).all() and found.real_rate == 0.0


def test_a_game_that_pays_at_every_second_step_is_paid_for_at_every_step_of_dreams():
    """UpNDown does; 800 starts at equal distances of 1,600 steps would all be of one kind."""
    steps = 1600
    frames, pays = np.zeros([steps, 96, 96], np.uint8), np.arange(steps) % 2 == 0
    replay = made_replay(steps, frames=frames, rewards=pays.astype(float))
    found = rewards_along_dreams(CountingDreamer(), replay, 2, np.array([0, 1], np.int32))
    assert found.real_rate == pytest.approx(0.5, abs=0.07)  # 800 draws
    assert np.isfinite(found.auc[:, 1:]).all()  # both kinds at both steps
