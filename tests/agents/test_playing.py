"""Playing on, and playing episodes side by side: who is asked what, and what comes of it."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from smallwm_tf.agents.playing import play_episodes, play_steps
from smallwm_tf.experiment.config import build_config
from smallwm_tf.games.real_game import RealGame
from tests.agents.scripted_agent import ScriptedAgent

PAIR = np.array([1, 2], np.int32)


@pytest.fixture
def game():
    opened = RealGame("Catch", 2, seed=4)
    opened.reset()
    yield opened
    opened.close()


def played(game, agent, count, **options):
    return list(itertools.islice(play_steps(game, agent, PAIR, **options), count))


def test_episodes_follow_each_other_and_the_memory_begins_anew(game):
    agent = ScriptedAgent()
    steps = played(game, agent, 30)
    numbers = [*range(12), *range(12), *range(6)]  # an episode of Catch has 12 steps
    assert [counts for _, counts, _, _ in agent.asked] == [[number] for number in numbers]
    assert [step.action for step in steps] == [number % 3 for number in numbers]
    assert [step.memory["count"].tolist() for step in steps] == [[number] for number in numbers]
    assert [step for *_, step in agent.asked] == list(range(30))
    assert {pair for _, _, pair, _ in agent.asked} == {(1, 2)}
    assert [step.is_last for step in steps] == [number == 11 for number in numbers]
    for step, (observations, *_) in zip(steps, agent.asked, strict=True):
        np.testing.assert_array_equal(observations[0], step.observation)
        np.testing.assert_array_equal(step.frame, step.observation[:, :, 1])


def test_steps_are_those_of_the_game(game):
    steps = played(game, ScriptedAgent(), 30)
    again = RealGame("Catch", 2, seed=4)
    now = again.reset()
    for step in steps:
        np.testing.assert_array_equal(step.observation, now.observation)
        now = again.step(step.action)
        assert step.reward == now.reward and step.is_last == now.is_last()
        if now.is_last():
            now = again.reset()
    assert {step.reward for step in steps} > {0.0}
    again.close()


def test_playing_goes_on_where_it_stopped_even_at_an_end(game):
    first, second = played(game, ScriptedAgent(), 12), played(game, ScriptedAgent(), 12)
    assert first[-1].is_last and not np.array_equal(second[0].observation, first[-1].observation)
    again = RealGame("Catch", 2, seed=4)
    again.reset()
    for one, other in zip([*first, *second], played(again, ScriptedAgent(), 24), strict=True):
        np.testing.assert_array_equal(one.observation, other.observation)
    again.close()


def test_a_time_limit_truncates_and_a_true_end_terminates(game):
    def ends(limit):
        settings = build_config({"game.max_episode_steps": limit}).game
        limited = RealGame("Catch", 1, 4, settings)
        limited.reset()
        steps = played(limited, ScriptedAgent(), 24)
        limited.close()
        return [(number, s.terminated, s.truncated) for number, s in enumerate(steps) if s.is_last]

    assert ends(27_000) == [(11, True, False), (23, True, False)]
    assert ends(12) == [
        (11, True, False),
        (23, True, False),
    ]
    assert ends(10) == [
        (9, False, True),
        (19, False, True),
    ]


def test_states_are_kept_every_few_steps_and_lead_back(game):
    steps = played(game, ScriptedAgent(), 26, state_interval=6)  # 12 and 24 begin an episode
    assert [n for n, step in enumerate(steps) if step.state is not None] == [0, 6, 12, 18, 24]
    again = RealGame("Catch", 2, seed=0)
    for number in (6, 12, 24):
        now = again.set_state(steps[number].state)
        np.testing.assert_array_equal(now.observation, steps[number].observation)
        assert again.step(steps[number].action).reward == steps[number].reward
    again.close()


class CountingGames:
    """Games of 2, 3 and 1 steps that pay the step's number; frames name their game."""

    num_games = 3
    lengths = np.array([2, 3, 1])

    def reset(self):
        self.steps = np.zeros(3, int)
        self.actions = getattr(self, "actions", [])
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
    games, agent, finished = CountingGames(), ScriptedAgent(), []
    episodes = play_episodes(games, agent, num_episodes, (1, "evaluate"), finished.append)
    # Returns 1 + 2, 1 + 2 + 3 and 1; a second round fills up what is still wanted.
    assert episodes.returns == [3.0, 6.0, 1.0, 3.0, 6.0][:num_episodes]
    assert episodes.lengths == [2, 3, 1, 2, 3][:num_episodes]
    assert sum(finished) == num_episodes
    asked = [list(observations) for observations, *_ in agent.asked]
    rounds = {2: [[0, 1], [0, 1], [1]], 3: [[0, 1, 2], [0, 1], [1]]}
    assert asked == (rounds[3] + rounds[2] if num_episodes == 5 else rounds[num_episodes])
    steps = [step for *_, step in agent.asked]
    assert steps == list(range(len(steps)))  # no random number is used twice


def test_every_game_has_a_memory_of_its_own_episode():
    class OwnNumbers(ScriptedAgent):
        def begin(self, num_games):
            return {"count": 10 * np.arange(num_games)}

    agent = OwnNumbers()
    play_episodes(CountingGames(), agent, 5, (1, "evaluate"))
    counts = [counts for _, counts, _, _ in agent.asked]
    assert counts == [[0, 10, 20], [1, 11], [12], [0, 10], [1, 11], [12]]


@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize("num_known", [0, 1, 3, 4, 6])
def test_known_steps_are_played_again(num_known, remembers):
    games, agent, taken = CountingGames(), ScriptedAgent(remembers), []
    whole = play_episodes(games, agent, 5, (1, "evaluate"), taken=taken)
    assert len(taken) == 3 + 3  # two rounds
    again, other, known = CountingGames(), ScriptedAgent(remembers), taken[:num_known]
    assert play_episodes(again, other, 5, (1, "evaluate"), taken=known) == whole
    np.testing.assert_array_equal(known, taken)
    np.testing.assert_array_equal(again.actions, games.actions)
    asked = [step for *_, step in other.asked]  # only who remembers nothing need not be asked
    assert asked == list(range(0 if remembers else num_known, 6))
