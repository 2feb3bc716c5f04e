"""The batch of games against single real games, frame by frame."""

import os

import numpy as np
import pytest

from smallwm_tf.experiment.config import build_config
from smallwm_tf.games.catalogue import UnknownGameError
from smallwm_tf.games.game_batch import GameBatch, num_threads
from smallwm_tf.games.real_game import RealGame


def compare_with_real_games(batch, games, num_steps):
    """Plays both with the same random actions; returns how many episodes came to an end."""
    random = np.random.default_rng(0)
    over = np.zeros(batch.num_games, bool)
    for _ in range(num_steps):
        actions = random.integers(batch.num_actions, size=batch.num_games)
        observations, rewards, terminated, truncated, episode_over = batch.step(actions)
        for number, game in enumerate(games):
            expected_reward, ends = 0.0, False
            if not over[number]:
                expected_reward = game.step(actions[number]).reward
                ends = over[number] = game.current_time_step().is_last()
            expected = game.current_time_step().observation
            np.testing.assert_array_equal(observations[number], expected)
            assert rewards[number] == expected_reward
            assert (terminated[number], truncated[number]) == (ends, False)
            assert episode_over[number] == over[number]
        if over.all():
            break
    assert observations.dtype == np.uint8 and rewards.dtype == np.float32
    return int(over.sum())


@pytest.mark.parametrize(
    ("name", "num_stacked_frames", "frame_skip", "num_steps", "ends_expected"),
    [
        ("Breakout", 4, 4, 600, True),
        ("Seaquest", 1, 4, 600, True),
        ("Krull", 1, 4, 60, False),
        ("Freeway", 2, 1, 60, False),
        ("Alien", 1, 2, 60, False),
    ],
)
def test_equals_the_real_game(name, num_stacked_frames, frame_skip, num_steps, ends_expected):
    no_idle = {"game.frame_skip": frame_skip, "game.noop_max": 0}  # they are drawn otherwise
    settings = build_config(no_idle).game
    batch = GameBatch(name, 3, num_stacked_frames, 0, settings)
    games = [RealGame(name, num_stacked_frames, seed, settings) for seed in range(3)]
    observations = batch.reset()
    for game, observation in zip(games, observations, strict=True):
        np.testing.assert_array_equal(observation, game.reset().observation)
    assert list(batch.action_meanings) == list(games[0].action_meanings)
    num_ends = compare_with_real_games(batch, games, num_steps)
    assert num_ends == (3 if ends_expected else 0)


def pushed(game_kind, sticky, seed):
    """A frame of Breakout after eight steps to the right."""
    differences = {"game.sticky_action_probability": sticky, "game.noop_max": 0}
    settings, right = build_config(differences).game, 2
    if game_kind is GameBatch:
        game, action = GameBatch("Breakout", 1, 1, seed, settings), [right]
    else:
        game, action = RealGame("Breakout", 1, seed, settings), right
    assert game.action_meanings[right] == "RIGHT"
    game.reset()
    shown = [game.step(action) for _ in range(8)][-1]
    return np.squeeze(shown.observations if game_kind is GameBatch else shown.observation)


@pytest.mark.parametrize("game_kind", [RealGame, GameBatch])
def test_actions_stick(game_kind):
    """Always that of the frame before, which is none at a start: the paddle stays where it is."""
    moved, stuck = pushed(game_kind, 0.0, seed=1), pushed(game_kind, 0.999999, seed=1)
    assert np.array_equal(moved, pushed(game_kind, 0.0, seed=2))
    still = RealGame("Breakout", 1, 1, build_config({"game.noop_max": 0}).game)
    still.reset()
    expected = [still.step(0).observation[..., 0] for _ in range(8)][-1]
    assert np.array_equal(stuck, expected) and not np.array_equal(moved, expected)


class FixedDraw:
    """Stands in for NumPy's generator: draws one number."""

    def __init__(self, number):
        self.number = number

    def integers(self, low, high):
        return self.number


def test_random_starts_are_starts_of_the_real_game():
    game = RealGame("MsPacman", 1, seed=0)
    game.reset()
    starts = {}
    for num_idle_frames in range(30):
        game._source._emulator.np_random = FixedDraw(num_idle_frames)
        starts[game.reset().observation.tobytes()] = num_idle_frames
    batch = GameBatch("MsPacman", 8, 1, seed=0)
    observations = batch.reset()
    idle_frames = [starts.get(observation.tobytes()) for observation in observations]
    assert None not in idle_frames
    assert len(set(idle_frames)) > 3
    for number, observation in enumerate(observations[:3]):  # and they go on alike
        game._source._emulator.np_random = FixedDraw(idle_frames[number])
        np.testing.assert_array_equal(game.reset().observation, observation)
    second = batch.reset()
    assert not np.array_equal(second, observations)
    again = GameBatch("MsPacman", 8, 1, seed=0)
    np.testing.assert_array_equal(again.reset(), observations)
    np.testing.assert_array_equal(again.reset(), second)
    neighbour = GameBatch("MsPacman", 8, 1, seed=1).reset()
    assert not np.array_equal(neighbour[:-1], observations[1:])


def test_catch_freezes_what_is_over_and_starts_again():
    batch = GameBatch("Catch", 5, 4, seed=0)
    first = batch.reset()
    assert len({observation.tobytes() for observation in first}) > 1
    for _ in range(12):
        assert not batch.episode_over.any()
        last = batch.step(np.ones(5, int))
    assert last.episode_over.all()
    later = batch.step(np.full(5, -7))  # ignored, even out of range
    np.testing.assert_array_equal(later.observations, last.observations)
    assert not later.rewards.any() and later.episode_over.all()
    assert not np.array_equal(batch.reset(), first)
    assert not batch.episode_over.any()


def test_games_left_out_are_frozen():
    batch = GameBatch("Pong", 3, 1, seed=0)
    batch.reset()
    before = batch.step(np.array([1, 2, 3]))
    active = np.array([True, False, True])
    returns = np.zeros(3)
    for _ in range(250):  # long enough to lose a ball, also unseen
        after = batch.step(np.zeros(3, int), active)
        returns += after.rewards
    np.testing.assert_array_equal(after.observations[1], before.observations[1])
    assert returns[0] < 0 and returns[1] == 0 and returns[2] < 0
    np.testing.assert_array_equal(after.episode_over, [False, True, False])


def test_a_game_that_is_over_is_not_played():
    """Its numbers wait: its next episode does not depend on how long others went on."""
    settings = build_config({"game.sticky_action_probability": 0.5}).game
    episodes = []
    for num_steps in (1, 30):
        batch = GameBatch("Breakout", 2, 1, 0, settings)
        batch.reset()
        for _ in range(num_steps):
            batch.step(np.array([2, 2]), active=np.array([True, False]))
        seen = [batch.reset()[1]]
        seen += [batch.step(np.array([2, n % 4])).observations[1] for n in range(60)]
        batch.close()
        episodes.append(seen)
    np.testing.assert_array_equal(*episodes)


def test_as_many_are_played_at_once_as_there_are_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    batch = GameBatch("Breakout", 5, 1, 0)
    batch.reset()
    under_way, most = 0, []

    def watched(method, change):
        def call(*arguments):
            nonlocal under_way
            under_way += change
            most.append(under_way)
            return method(*arguments)

        return call

    for env in batch._games._envs:
        env.send, env.recv = watched(env.send, 1), watched(env.recv, -1)
    batch.step(np.zeros(5, int), active=np.array([True, True, False, True, True]))
    batch.step(np.zeros(5, int))
    assert max(most) == 2 and most.count(2) == 4 and under_way == 0
    batch.close()


@pytest.mark.parametrize("given", ["", "0", "many"])
def test_without_a_number_of_threads_all_cores_play(given, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert num_threads() == len(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert num_threads() == 3


def test_observations_handed_out_do_not_change():
    batch = GameBatch("Breakout", 2, 2, seed=0)
    first = batch.reset()
    kept = first.copy()
    for _ in range(3):
        batch.step(np.array([2, 3]))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", ["Breakout", "Catch"])
def test_time_limit(name):
    batch = GameBatch(name, 2, 1, 0, build_config({"game.max_episode_steps": 7}).game)
    batch.reset()
    steps = [batch.step(np.zeros(2, int)) for _ in range(8)]
    assert [step.episode_over.tolist() for step in steps] == [[False] * 2] * 6 + [[True] * 2] * 2
    assert [step.truncated.tolist() for step in steps] == (
        [[False] * 2] * 6 + [[True] * 2, [False] * 2]
    )
    assert not any(step.terminated.any() for step in steps)


@pytest.mark.parametrize("limit", [11, 12])
def test_an_end_at_the_time_limit_is_a_true_end(limit):
    batch = GameBatch("Catch", 2, 1, 0, build_config({"game.max_episode_steps": limit}).game)
    batch.reset()
    for _ in range(limit):
        last = batch.step(np.zeros(2, int), active=np.array([True, False]))
    assert last.terminated.tolist() == [limit == 12, False]  # an episode has 12 steps
    assert last.truncated.tolist() == [limit == 11, False]
    assert last.episode_over.tolist() == [True, True]


def test_bad_arguments():
    with pytest.raises(ValueError, match="num_games=0"):
        GameBatch("Catch", 0, 1, seed=0)
    with pytest.raises(UnknownGameError):
        GameBatch("Cach", 1, 1, seed=0)
    batch = GameBatch("Catch", 2, 1, seed=0)
    batch.reset()
    with pytest.raises(ValueError, match=r"actions has shape \[3\], expected \[2\]"):
        batch.step(np.zeros(3, int))
    with pytest.raises(ValueError, match=r"actions\[1\]=3 .* 0 to 2"):
        batch.step(np.array([0, 3]))
