"""Collecting and evaluating: what is recorded, and who is asked for actions."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.agents.collecting import Collector, play_episodes
from smallwm_tf.experiment.randomness import generator
from smallwm_tf.games.real_game import RealGame

FIELDS = ("frames", "actions", "rewards", "ended")


class ScriptedActor:
    """Takes actions 0, 1, 2, 0, … by the step it is asked for, and remembers the questions."""

    def __init__(self):
        self.asked = []

    def act(self, observations, temperature, pair, step):
        self.asked.append((observations.copy(), temperature, tuple(pair), step))
        return tf.constant((np.arange(len(observations)) + step) % 3, tf.int32)


@pytest.fixture
def game():
    with_end = RealGame("Catch", num_stacked_frames=2, seed=4)
    with_end.reset()
    yield with_end
    with_end.close()


def replayed(actions: np.ndarray) -> tuple[list, list, list, list]:
    """Frames, rewards, ends and episode returns of the same game under the same actions."""
    game = RealGame("Catch", num_stacked_frames=2, seed=4)
    step, frames, rewards, ended, returns, total = game.reset(), [], [], [], [], 0.0
    for action in actions:
        frames.append(step.observation[..., -1].copy())
        step = game.step(np.int32(action))
        rewards.append(float(step.reward))
        ended.append(bool(step.is_last()))
        total += float(step.reward)
        if step.is_last():
            returns.append(total)
            step, total = game.reset(), 0.0
    game.close()
    return frames, rewards, ended, returns


@pytest.mark.parametrize("temperature", [None, 1.5])
def test_collections_continue_each_other_and_record_what_was_seen(game, temperature):
    collector = Collector(game, ScriptedActor())
    counted = []
    parts = [
        collector.collect(n, temperature, seed=1, iteration=i, on_steps=counted.append)
        for i, n in enumerate([17, 20], start=1)
    ]
    assert sum(counted) == 37
    together = {name: np.concatenate([getattr(p, name) for p in parts]) for name in FIELDS}
    frames, rewards, ended, returns = replayed(together["actions"])
    np.testing.assert_array_equal(together["frames"], frames)
    np.testing.assert_array_equal(together["rewards"], rewards)
    np.testing.assert_array_equal(together["ended"], ended)
    assert [r for p in parts for r in p.episode_returns] == returns
    assert len(returns) == 3  # 37 steps of episodes of 12; the second collection began inside one
    assert collector.episode_return == sum(rewards[36:])
    dtypes = [together[name].dtype for name in FIELDS]
    assert dtypes == [np.uint8, np.int32, np.float32, bool]


def test_random_collection_asks_nobody_and_is_uniform(game):
    actor = ScriptedActor()
    collected = Collector(game, actor).collect(600, None, 1, 1, lambda n: None)
    assert actor.asked == []
    counts = np.bincount(collected.actions, minlength=3)
    assert counts.min() > 150  # 200 expected, standard deviation 12
    again = RealGame("Catch", num_stacked_frames=2, seed=4)
    again.reset()
    repeated = Collector(again, actor).collect(600, None, 1, 1, lambda n: None)
    np.testing.assert_array_equal(repeated.actions, collected.actions)
    other = Collector(again, actor).collect(600, None, 1, 2, lambda n: None)
    assert not np.array_equal(other.actions, collected.actions)
    again.close()


def test_the_actor_sees_the_observation_the_temperature_and_a_new_number(game):
    actor = ScriptedActor()
    collected = Collector(game, actor).collect(5, 1.5, 1, 2, lambda n: None)
    assert [step for *_, step in actor.asked] == [0, 1, 2, 3, 4]
    assert {temperature for _, temperature, _, _ in actor.asked} == {1.5}
    assert len({pair for _, _, pair, _ in actor.asked}) == 1
    for frame, (observations, *_) in zip(collected.frames, actor.asked, strict=True):
        assert observations.shape == (1, 96, 96, 2)
        np.testing.assert_array_equal(observations[0, ..., -1], frame)
    np.testing.assert_array_equal(collected.actions, [0, 1, 2, 0, 1])


class CountingGames:
    """Games of 2, 3 and 1 steps that pay the step's number; frames name their game."""

    num_games = 3
    lengths = np.array([2, 3, 1])

    def reset(self):
        self.steps = np.zeros(3, int)
        self.actions = []
        return np.arange(3)

    def step(self, actions, active):
        self.actions.append(actions.copy())
        self.steps += active
        return SimpleNamespace(
            observations=np.arange(3),
            rewards=np.where(active, self.steps, 100).astype(np.float32),
            episode_over=self.steps >= self.lengths,
        )


@pytest.mark.parametrize("num_episodes", [2, 3, 5])
def test_episodes_are_played_to_their_end_and_only_running_games_are_asked(num_episodes):
    games, actor, finished = CountingGames(), ScriptedActor(), []
    episodes = play_episodes(games, actor, num_episodes, 1.0, (1, "evaluate"), finished.append)
    # Returns 1 + 2, 1 + 2 + 3 and 1; a second round fills up what is still wanted.
    assert episodes.returns == [3.0, 6.0, 1.0, 3.0, 6.0][:num_episodes]
    assert episodes.lengths == [2, 3, 1, 2, 3][:num_episodes]
    assert sum(finished) == num_episodes
    asked = [list(observations) for observations, *_ in actor.asked]
    rounds = {2: [[0, 1], [0, 1], [1]], 3: [[0, 1, 2], [0, 1], [1]]}
    assert asked == (rounds[3] + rounds[2] if num_episodes == 5 else rounds[num_episodes])
    steps = [step for *_, step in actor.asked]
    assert steps == list(range(len(steps)))  # no random number is used twice


@pytest.mark.parametrize("num_known", [0, 1, 3, 4, 6])
def test_known_steps_are_played_again_without_asking(num_known):
    games, actor, taken = CountingGames(), ScriptedActor(), []
    whole = play_episodes(games, actor, 5, 1.0, (1, "evaluate"), bool, taken)
    assert len(taken) == 3 + 3  # two rounds
    again, other, known = CountingGames(), ScriptedActor(), taken[:num_known]
    assert play_episodes(again, other, 5, 1.0, (1, "evaluate"), bool, known) == whole
    np.testing.assert_array_equal(known, taken)
    np.testing.assert_array_equal(again.actions, games.actions)
    assert [step for *_, step in other.asked] == list(range(num_known, 6))


def test_random_actions_repeat_with_the_given_probability(game):
    def actions_of(probability):
        played = Collector(game, ScriptedActor()).collect(
            4000, None, seed=1, iteration=1, on_steps=bool, repeat_probability=probability
        )
        return played.actions

    def share_repeated(actions):
        return np.mean(actions[1:] == actions[:-1])

    # A new draw is the old action once in three times, too.
    for probability in (0.0, 0.7):
        expected = probability + (1 - probability) / 3
        actions = actions_of(probability)
        assert share_repeated(actions) == pytest.approx(expected, abs=0.03)
        assert np.bincount(actions, minlength=3).min() > 1000
    drawn = generator(1, "collect", 1).integers(3, size=4000)
    np.testing.assert_array_equal(actions_of(0.0), drawn)
