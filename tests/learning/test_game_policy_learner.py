"""Model-free PPO: what a rollout of real games holds, and what is learned from it."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.learning.adam import built_adam
from smallwm_tf.learning.game_policy_learner import (
    GamePolicyLearner,
    Rollout,
    as_trajectory,
    play_rollout,
)
from smallwm_tf.models.build import build_frame_policy

F, M = 2, 3
SETTINGS = {
    "algorithm": "ppo",
    "game.num_stacked_frames": F,
    "ppo.discount": 0.5,
    "ppo.gae_lambda": 0.25,
    "ppo.minibatch_size": 4,
    "ppo.learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def learner():
    config = build_config(SETTINGS)
    policy = build_frame_policy(config, M, seed=1)
    optimizer = built_adam(config, config.ppo.learning_rate, policy.trainable_variables)
    return GamePolicyLearner(policy, optimizer, config)


def rollout_of(rewards, values, ends) -> Rollout:
    rewards, ends = np.array(rewards, np.float32), np.array(ends, bool)
    games, steps = rewards.shape
    draw = np.random.default_rng(0)
    return Rollout(
        frames=draw.integers(256, size=[games, steps + 1, 96, 96, F], dtype=np.uint8),
        actions=draw.integers(M, size=[games, steps + 1], dtype=np.int32),
        logits=np.zeros([games, steps + 1, M], np.float32),
        values=np.array(values, np.float32),
        rewards=rewards,
        ends=ends,
        episode_over=ends,
    )


def test_advantages_are_those_of_a_loop_backwards(learner):
    draw = np.random.default_rng(2)
    rewards = draw.choice([-7.0, 0.0, 0.0, 3.0], size=[3, 6])
    values, ends = draw.normal(size=[3, 7]), draw.random([3, 6]) < 0.3
    ends[0, -1], ends[1, -1] = True, False
    rollout = rollout_of(rewards, values, ends)
    experience = learner.with_advantages(
        as_trajectory(tf.nest.map_structure(tf.convert_to_tensor, rollout))
    )
    expected = np.zeros([3, 6])
    for n in range(3):
        after = 0.0
        for t in reversed(range(6)):
            goes_on = 0.0 if ends[n, t] else 0.5
            delta = np.sign(rewards[n, t]) + goes_on * values[n, t + 1] - values[n, t]
            after = delta + goes_on * 0.25 * after
            expected[n, t] = after
    np.testing.assert_allclose(experience.policy_info["advantage"], expected, atol=1e-5)
    np.testing.assert_allclose(
        experience.policy_info["return"], expected + values[:, :-1], atol=1e-5
    )


def test_an_update_makes_what_was_paid_for_more_probable(learner):
    rollout = rollout_of(np.zeros([2, 8]), np.zeros([2, 9]), np.ones([2, 8], bool))
    paid = rollout.actions[:, :-1] == 1
    rollout = rollout._replace(rewards=np.where(paid, 2.0, -2.0).astype(np.float32))
    frames = rollout.frames[:, :-1].reshape([-1, 96, 96, F])

    def probability():
        logits, _ = learner.agent.trunk(tf.constant(frames))
        return float(tf.reduce_mean(tf.nn.softmax(logits)[:, 1]))

    before, count = probability(), int(learner.num_updates)
    for number in range(3):
        measures = learner.update(rollout, np.array([0, number], np.int32), 1e-3)
    assert probability() > before + 0.1
    assert int(learner.num_updates) == count + 3
    assert measures.shape == (5,) and np.isfinite(measures).all()


def test_a_rollout_holds_what_the_games_show_and_goes_on_where_they_stand(learner):
    seed = np.array([3, 4], np.int32)
    with contextlib.ExitStack() as opened:

        def games():
            found = [RealGame("Catch", F, seed=number) for number in (5, 6)]
            for game in found:
                opened.enter_context(contextlib.closing(game))
                game.reset()
            return found

        played, copies = games(), games()
        first = play_rollout(learner, played, 20, seed)
        second = play_rollout(learner, played, 12, seed)
    for n, game in enumerate(copies):
        time_step = game.current_time_step()
        for rollout in (first, second):
            for t in range(rollout.rewards.shape[1]):
                if time_step.is_last():
                    time_step = game.reset()
                np.testing.assert_array_equal(rollout.frames[n, t], time_step.observation)
                time_step = game.step(rollout.actions[n, t])
                assert rollout.rewards[n, t] == time_step.reward
                assert rollout.episode_over[n, t] == rollout.ends[n, t] == time_step.is_last()
    assert first.episode_over.any() and first.rewards.any()
    logits, values = learner.agent.trunk(tf.constant(first.frames))
    np.testing.assert_allclose(first.logits, logits, atol=1e-5)
    np.testing.assert_allclose(first.values, values, atol=1e-5)
    assert len(np.unique(first.actions)) == M


def test_a_lost_life_ends_an_episode_for_learning_only(learner):
    class Losing:
        """Breakout's life is lost in some steps of a real game only; here in the third."""

        def __init__(self):
            self.steps, self.lost_life = 0, False

        def current_time_step(self):
            return tf_time_step()

        def step(self, action):
            self.steps += 1
            self.lost_life = self.steps == 3
            return tf_time_step()

    from tf_agents.trajectories import time_step as ts

    def tf_time_step():
        return ts.transition(np.zeros([96, 96, F], np.uint8), np.float32(0.0))

    rollout = play_rollout(learner, [Losing()], 4, np.array([0, 0], np.int32))
    np.testing.assert_array_equal(rollout.ends, [[False, False, True, False]])
    assert not rollout.episode_over.any()
