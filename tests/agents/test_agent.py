"""The random agent: uniform, repeatable, and holding actions as often as it is told."""

import numpy as np
import pytest

from smallwm_tf.agents.agent import RandomAgent

PAIR = np.array([-5, 7], np.int32)


def play(agent, num_games, num_steps, pair=PAIR):
    """Actions int32 [steps, games] of one episode each."""
    state, taken = agent.begin(num_games), []
    for step in range(num_steps):
        actions, state = agent.act(np.zeros([num_games, 1]), state, pair, step)
        taken.append(actions)
    return np.stack(taken)


def test_the_random_stream():
    """Golden: whoever changes which numbers are drawn for which step must say so."""
    agent = RandomAgent(6, repeat_probability=0.5)
    assert play(agent, 4, 3).tolist() == [[1, 5, 3, 2], [1, 5, 3, 5], [1, 5, 5, 5]]


def test_it_is_uniform_and_depends_on_seed_and_step():
    actions = play(RandomAgent(4), 100, 60)
    assert actions.dtype == np.int32
    counts = np.bincount(actions.ravel(), minlength=4)
    assert len(counts) == 4 and np.abs(counts - 1500).max() < 4 * np.sqrt(6000 * 3 / 16)
    assert len({row.tobytes() for row in actions}) == 60
    assert not np.array_equal(actions, play(RandomAgent(4), 100, 60, PAIR[::-1].copy()))


@pytest.mark.parametrize("probability", [0.0, 0.7])
def test_actions_are_held_with_the_given_probability(probability):
    actions = play(RandomAgent(3, probability), 50, 200)
    share = np.mean(actions[1:] == actions[:-1])
    expected = probability + (1 - probability) / 3  # a new draw is the old action in a third
    assert share == pytest.approx(expected, abs=0.02)
    assert np.bincount(actions.ravel(), minlength=3).min() > 3000


def test_the_first_action_of_an_episode_is_drawn():
    agent = RandomAgent(3, repeat_probability=1.0)
    actions = play(agent, 300, 5)
    assert np.bincount(actions[0], minlength=3).min() > 60
    assert (actions == actions[0]).all()
