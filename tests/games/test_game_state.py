"""Saved states: the same actions give the same future; foreign states are refused."""

import io

import numpy as np
import pytest

from smallwm_tf.experiment.config import build_config
from smallwm_tf.games.faults import GameFaultError
from smallwm_tf.games.real_game import RealGame


def random_actions(game: RealGame, num_steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(game.num_actions, size=num_steps, dtype=np.int32)


def assert_same_time_step(actual, expected):
    for name, found, wanted in zip(actual._fields, actual, expected, strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg=name)


@pytest.mark.parametrize(
    ("name", "num_steps"), [("Breakout", 700), ("Catch", 60), ("ToyPixels-v0", 40)]
)
def test_saved_state_replays_across_episodes(name, num_steps):
    game = RealGame(name, 2, seed=3)
    game.reset()
    actions = random_actions(game, num_steps)
    save_at = {0, 5, num_steps // 3}
    saved, history, lost = {}, [game.current_time_step()], []
    for number, action in enumerate(actions):
        if history[-1].is_last() and not any(key > num_steps // 2 for key in save_at):
            save_at.add(number)  # also with an ended episode, before its random reset
        if number in save_at:
            file = io.BytesIO()
            np.savez(file, **game.get_state())
            saved[number] = file.getvalue()
        history.append(game.step(action))
        lost.append(game.lost_life)
    assert any(lost) == (name == "Breakout")
    assert sum(bool(time_step.is_last()) for time_step in history) >= 2
    for start, content in saved.items():
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            state = dict(arrays)
        restored = RealGame(name, 2, seed=99)
        if start % 2:
            restored.reset()  # restoring works in a fresh game and in a running one
        assert_same_time_step(restored.set_state(state), history[start])
        for key, value in restored.get_state().items():  # also what shows only much later
            np.testing.assert_array_equal(value, state[key], err_msg=key)
        for number in range(start, num_steps):
            assert_same_time_step(restored.step(actions[number]), history[number + 1])
            assert restored.lost_life == lost[number]


def test_sticky_actions_go_on_with_the_last_one():
    """Which the emulator's own state leaves out: the next frame may repeat it."""
    settings = build_config({"game.sticky_action_probability": 0.6, "game.noop_max": 0}).game
    game, other = (RealGame("Breakout", 1, seed, settings) for seed in (3, 4))
    game.reset()
    actions = random_actions(game, 600)
    for number in range(0, len(actions), 6):
        state = game.get_state()
        other.set_state(state)
        for action in actions[number : number + 6]:
            assert_same_time_step(other.step(action), game.step(action))
        for key, value in other.get_state().items():
            np.testing.assert_array_equal(value, game.get_state()[key], err_msg=key)
    with pytest.raises(ValueError, match="'last_action' must be 0 to 3"):
        other.set_state(state | {"source/last_action": np.int64(4)})
    with pytest.raises(ValueError, match="'source/last_action' is missing"):
        other.set_state({key: state[key] for key in state if "last" not in key})


def test_the_emulators_random_state_is_saved(pong_state):
    emulator = RealGame("Pong", 1, seed=0)._source._emulator
    emulator.reset()
    without = len(emulator.clone_state(include_rng=False).serialize())
    assert pong_state["source/emulator"].size > without


def test_saving_does_not_disturb_the_game():
    games = [RealGame("Breakout", 1, seed=1) for _ in range(2)]
    for game in games:
        game.reset()
    for action in random_actions(games[0], 250):
        games[0].get_state()
        assert_same_time_step(games[0].step(action), games[1].step(action))


def test_an_unrepeatable_environment_cannot_be_resumed():
    game = RealGame("ToyUnrepeatablePixels-v0", 1, seed=0)
    game.reset()
    with pytest.raises(GameFaultError, match="does not repeat itself"):
        RealGame("ToyUnrepeatablePixels-v0", 1, seed=0).set_state(game.get_state())


@pytest.fixture(scope="module")
def pong_state():
    game = RealGame("Pong", 1, seed=0)
    game.reset()
    return game.get_state()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"gymnasium_id": np.array("ALE/Alien-v5")}, "ALE/Alien-v5.*ALE/Pong-v5"),
        ({"stack": np.zeros((96, 96, 4), np.uint8)}, r"\[96, 96, 4\].*\[96, 96, 1\]"),
        ({"source/pooling_buffers": np.zeros((2, 9, 9), np.uint8)}, "pooling_buffers"),
        ({"source/emulator": np.zeros(3, np.float32)}, "emulator"),
        ({"source/emulator": np.zeros(10**6, np.uint8)}, "1000000 bytes"),
        ({"source/random_state": np.array("{}")}, "random_state"),
        ({"source/random_state": np.array("[1]")}, "random_state"),
        ({"source/emulator": None}, "source/emulator.*missing"),
        ({"reward": None}, "reward.*missing"),
    ],
)
def test_foreign_states_are_refused(pong_state, change, named):
    state = {key: value for key, value in (pong_state | change).items() if value is not None}
    with pytest.raises(ValueError, match=named) as caught:
        RealGame("Pong", 1, seed=0).set_state(state)
    assert len(str(caught.value).splitlines()) == 1


def test_state_before_the_first_reset():
    with pytest.raises(ValueError, match="not initialized"):
        RealGame("Catch", 1, seed=0).get_state()
