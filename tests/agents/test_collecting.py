"""Collecting: what is recorded, from one collection to the next."""

import gymnasium
import numpy as np
import pytest

from smallwm_tf.agents.agent import RandomAgent
from smallwm_tf.agents.collecting import collect
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.runs.replay_files import STEPS
from tests.agents.scripted_agent import ScriptedAgent


@pytest.fixture
def game():
    opened = RealGame("Catch", num_stacked_frames=2, seed=4)
    opened.reset()
    yield opened
    opened.close()


def replayed(actions):
    """Frames, rewards, ends and episode returns of the same game under the same actions."""
    game = RealGame("Catch", num_stacked_frames=2, seed=4)
    step, frames, rewards, ended, returns, total = game.reset(), [], [], [], [], 0.0
    for action in actions:
        frames.append(step.observation[..., -1].copy())
        step = game.step(action)
        rewards.append(float(step.reward))
        ended.append(bool(step.is_last()))
        total += float(step.reward)
        if step.is_last():
            returns.append(total)
            step, total = game.reset(), 0.0
    game.close()
    return frames, rewards, ended, returns


@pytest.mark.parametrize("agent", [ScriptedAgent(), RandomAgent(3)])
@pytest.mark.parametrize("first", [17, 12])  # inside an episode, and at an end
def test_collections_continue_each_other_and_record_what_was_seen(game, agent, first):
    counted, parts, so_far = [], [], 0.0
    for number, count in enumerate([first, 37 - first], start=1):
        path = (1, "collect", number)
        parts.append(
            collect(game, agent, count, path, lambda: counted.append(1), running_return=so_far)
        )
        so_far = parts[-1].running_return
    assert sum(counted) == 37
    together = {name: np.concatenate([p.steps()[name] for p in parts]) for name in STEPS}
    frames, rewards, ended, returns = replayed(together["actions"])
    np.testing.assert_array_equal(together["frames"], frames)
    np.testing.assert_array_equal(together["rewards"], rewards)
    np.testing.assert_array_equal(together["terminated"], ended)  # Catch has only true ends
    assert not together["truncated"].any() and not together["lost_life"].any()
    assert [r for p in parts for r in p.episode_returns] == returns
    assert len(returns) == 3  # 37 steps of episodes of 12
    assert so_far == sum(rewards[36:])
    for name, (dtype, shape) in STEPS.items():
        assert together[name].dtype == dtype and together[name].shape == (37, *shape[1:])


def test_lost_lives_are_those_that_gymnasium_counts():
    game = RealGame("Breakout", 1, seed=7)
    game.reset()
    collected = collect(game, RandomAgent(4), 500, (1, "collect"))
    game.close()
    emulator = gymnasium.make("ALE/Breakout-v5", frameskip=1, repeat_action_probability=0.0)
    oracle = gymnasium.wrappers.AtariPreprocessing(emulator, screen_size=96)
    _, info = oracle.reset(seed=7)
    lost, terminated = [], []
    for action in collected.actions:
        lives = info["lives"]
        _, _, is_over, _, info = oracle.step(action)
        lost.append(info["lives"] < lives)
        terminated.append(is_over)
        if is_over:
            _, info = oracle.reset()
    np.testing.assert_array_equal(collected.lost_life, lost)
    np.testing.assert_array_equal(collected.terminated, terminated)
    assert sum(lost) > sum(terminated) > 1 and not collected.truncated.any()


def test_states_lead_back_to_their_steps(game):
    collected = collect(game, RandomAgent(3), 20, (1, "collect"), state_interval=7)
    again = RealGame("Catch", 2, seed=0)
    assert len(collected.states) == 3
    for number, state in zip([0, 7, 14], collected.states, strict=True):
        frame = again.set_state(state).observation[..., -1]
        np.testing.assert_array_equal(frame, collected.frames[number])
    again.close()


def test_the_random_stream(game):
    """Golden: whoever changes which numbers are drawn for which step must say so."""
    collected = collect(game, RandomAgent(3), 20, (1, "collect", 1))
    assert collected.actions.tolist() == [
        2,
        0,
        0,
        0,
        2,
        0,
        2,
        2,
        2,
        2,
        1,
        2,
        1,
        1,
        1,
        0,
        2,
        0,
        1,
        2,
    ]
