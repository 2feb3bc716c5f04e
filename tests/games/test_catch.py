"""Catch against a simulator written from its description only."""

import itertools

import gymnasium
import numpy as np
import pytest

import smallwm_tf.games  # noqa: F401  registers the game
from smallwm_tf.agents.agent import RandomAgent
from smallwm_tf.agents.playing import play_episodes
from smallwm_tf.games.game_batch import GameBatch


class PlainCatch:
    """Positions in pixels; frames filled pixel by pixel."""

    def __init__(self, ball_left: int, paddle_left: int):
        self.ball_left, self.paddle_left, self.ball_top, self.age = ball_left, paddle_left, 0, 0

    def step(self, action: int) -> tuple[np.ndarray, float, bool]:
        if action == 1 and self.paddle_left >= 16:
            self.paddle_left -= 16
        if action == 2 and self.paddle_left <= 64:
            self.paddle_left += 16
        self.ball_top += 8
        self.age += 1
        reward = 0.0
        if self.ball_top == 64:  # its lower edge touches the paddle's row
            reward = 1.0 if self.ball_left == self.paddle_left else -1.0
        return self.frame(), reward, self.age == 12

    def frame(self) -> np.ndarray:
        frame = np.full((96, 96), 48, np.uint8)
        for row, column in itertools.product(range(96), range(96)):
            if row >= 80 and self.paddle_left <= column < self.paddle_left + 16:
                frame[row, column] = 128
            in_ball_rows = self.ball_top <= row < self.ball_top + 16 and self.ball_top <= 64
            if in_ball_rows and self.ball_left <= column < self.ball_left + 16:
                frame[row, column] = 208
        return frame


def positions(first_frame: np.ndarray) -> tuple[int, int]:
    """Left edges of ball and paddle [pixels]."""
    return int((first_frame[0] == 208).argmax()), int((first_frame[95] == 128).argmax())


@pytest.fixture
def catch():
    return gymnasium.make("SmallWM/Catch-v0")


def test_dynamics_equal_the_plain_simulator(catch):
    random = np.random.default_rng(0)
    rewards_seen = set()
    for seed in range(12):
        frame, _ = catch.reset(seed=seed)
        plain = PlainCatch(*positions(frame))
        np.testing.assert_array_equal(frame, plain.frame())
        ended = False
        while not ended:
            action = int(random.integers(3))
            frame, reward, terminated, truncated, _ = catch.step(action)
            expected_frame, expected_reward, ended = plain.step(action)
            np.testing.assert_array_equal(frame, expected_frame)
            assert (reward, terminated, truncated) == (expected_reward, ended, False)
            rewards_seen.add(reward)
    assert rewards_seen == {-1.0, 0.0, 1.0}


def test_following_the_ball_always_catches_it(catch):
    starts = set()
    for seed in range(300):
        frame, _ = catch.reset(seed=seed)
        ball, paddle = positions(frame)
        starts.add((ball, paddle))
        total, terminated = 0.0, False
        while not terminated:
            action = 0 if ball == paddle else 1 if ball < paddle else 2
            frame, reward, terminated, _, _ = catch.step(action)
            paddle = int((frame[95] == 128).argmax())
            total += reward
        assert total == 1.0
    assert len(starts) == 36  # all pairs of columns occur


def test_random_return_is_minus_two_thirds():
    move = np.zeros((6, 6))  # the paddle's Markov chain under the random policy
    for column, change in itertools.product(range(6), (-1, 0, 1)):
        move[column, min(max(column + change, 0), 5)] += 1 / 3
    at_landing = np.full(6, 1 / 6) @ np.linalg.matrix_power(move, 8)
    caught = float(at_landing @ np.full(6, 1 / 6))
    analytic = 2 * caught - 1
    assert analytic == pytest.approx(-2 / 3)
    games = GameBatch("Catch", 32, 1, seed=1)
    returns = play_episodes(games, RandomAgent(3), 3200, (1, "random")).returns
    assert set(returns) == {-1.0, 1.0}
    four_standard_errors = 4 * np.sqrt((1 - analytic**2) / 3200)
    assert np.mean(returns) == pytest.approx(analytic, abs=four_standard_errors)


def test_wrong_action_is_refused(catch):
    catch.reset(seed=0)
    with pytest.raises(ValueError, match="action=3"):
        catch.unwrapped.step(3)


def test_passes_gymnasiums_own_check():
    from gymnasium.utils.env_checker import check_env

    env = gymnasium.make("SmallWM/Catch-v0", render_mode="rgb_array").unwrapped
    check_env(env)
    env.reset(seed=0)
    assert env.render().shape == (96, 96, 3)
