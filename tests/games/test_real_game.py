"""The real game against Gymnasium's own preprocessing, and its promises when things go wrong."""

from collections import deque

import ale_py
import cv2
import gymnasium
import numpy as np
import pytest
from tf_agents.environments import utils

from smallwm_tf.experiment.config import build_config
from smallwm_tf.games.catalogue import MissingGameError, resolve_game
from smallwm_tf.games.faults import GameFaultError, UnsuitableGameError
from smallwm_tf.games.real_game import RealGame

gymnasium.register_envs(ale_py)


def random_actions(game: RealGame, num_steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(game.num_actions, size=num_steps, dtype=np.int32)


@pytest.mark.parametrize("num_stacked_frames", [1, 4])
@pytest.mark.parametrize("name", ["Pong", "Catch", "ToyPixels-v0", "OneAction-v0"])
def test_is_a_valid_tf_agents_environment(name, num_stacked_frames):
    game = RealGame(name, num_stacked_frames, 0, build_config({"game.max_episode_steps": 200}).game)
    utils.validate_py_environment(game, episodes=2)
    assert game.observation_spec().shape == (96, 96, num_stacked_frames)
    assert game.observation_spec().dtype == np.uint8
    assert game.action_spec().dtype == np.int32 and game.action_spec().shape == ()
    assert game.action_spec().maximum == game.num_actions - 1 == len(game.action_meanings) - 1


@pytest.mark.parametrize(
    ("name", "num_actions", "num_steps", "sticky"),
    [("Breakout", 4, 500, 0.0), ("MsPacman", 9, 600, 0.25), ("Pong", 6, 100, 0.0)],
)
def test_equals_gymnasiums_atari_preprocessing(name, num_actions, num_steps, sticky):
    settings = build_config({"game.sticky_action_probability": sticky}).game
    game = RealGame(name, 4, 7, settings)
    assert game.num_actions == num_actions
    emulator = gymnasium.make(f"ALE/{name}-v5", frameskip=1, repeat_action_probability=0.0)
    oracle = gymnasium.wrappers.AtariPreprocessing(
        gymnasium.wrappers.StickyAction(emulator.unwrapped, sticky) if sticky else emulator,
        frame_skip=4,
        screen_size=96,
        grayscale_obs=True,
        terminal_on_life_loss=False,
        noop_max=30,
    )
    assert list(game.action_meanings) == emulator.unwrapped.get_action_meanings()
    frame, info = oracle.reset(seed=7)
    stack = deque([frame] * 4, maxlen=4)
    time_step = game.reset()
    rewards, num_ends, num_lost = set(), 0, 0
    lives = info["lives"]
    for action in random_actions(game, num_steps):
        np.testing.assert_array_equal(time_step.observation, np.stack(stack, axis=2))
        if time_step.is_last():
            num_ends += 1
            frame, info = oracle.reset()
            stack = deque([frame] * 4, maxlen=4)
            time_step = game.step(action)  # ignored
            assert time_step.is_first() and not game.lost_life
            lives = info["lives"]
            continue
        frame, reward, terminated, truncated, info = oracle.step(action)
        stack.append(frame)
        time_step = game.step(action)
        assert game.lost_life == (info["lives"] < lives)
        num_lost, lives = num_lost + game.lost_life, info["lives"]
        assert time_step.reward == reward and time_step.reward.dtype == np.float32
        assert (time_step.is_last(), truncated) == (terminated, False)
        assert time_step.discount == (0.0 if terminated else 1.0)
        rewards.add(reward)
    assert num_ends >= 2 or name != "Breakout"
    assert (num_lost >= 2) == (name != "Pong")  # in Pong there is none to lose
    assert name != "MsPacman" or 10.0 in rewards  # raw, not clipped


def test_one_step_by_hand():
    """Maximum of the last two of four raw frames, resized by area: straight from the emulator."""
    game = RealGame("Pong", 1, 0, build_config({"game.noop_max": 0}).game)
    emulator = ale_py.ALEInterface()
    emulator.setFloat("repeat_action_probability", 0.0)
    emulator.loadROM(ale_py.roms.get_rom_path("pong"))
    emulator.reset_game()
    game.reset()
    for _ in range(40):
        time_step = game.step(2)  # the minimal set's third action is RIGHT
        raw = []
        for _ in range(4):
            emulator.act(ale_py.Action.RIGHT)
            raw.append(emulator.getScreenGrayscale())
        pooled = np.maximum(raw[2], raw[3])
        expected = cv2.resize(pooled, (96, 96), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(time_step.observation[..., 0], expected)
    assert game.action_meanings[2] == "RIGHT"


def test_seeds_fix_the_start():
    def starts(seed):
        game = RealGame("Catch", 1, seed)
        return [game.reset().observation.tobytes() for _ in range(8)]

    assert starts(1) == starts(1) != starts(2)
    assert len(set(starts(1))) > 2
    game = RealGame("MsPacman", 1, seed=0)
    assert len({game.reset().observation.tobytes() for _ in range(8)}) > 2  # random idle frames


def test_time_limit_cuts_off_without_ending():
    game = RealGame("ToyEndlessPixels-v0", 1, 0, build_config({"game.max_episode_steps": 20}).game)
    game.reset()
    steps = [game.step(0) for _ in range(20)]
    assert [bool(step.is_last()) for step in steps] == [False] * 19 + [True]
    assert steps[-1].discount == 1.0 and steps[-1].reward == 5.0
    assert game.step(0).is_first()
    again = [game.step(0) for _ in range(20)]  # the count starts anew
    assert [bool(step.is_last()) for step in again] == [False] * 19 + [True]


def test_a_stack_never_reaches_into_the_previous_episode():
    game = RealGame("ToyPixels-v0", 4, seed=0)
    for _ in range(20):
        time_step = game.step(0)
        if time_step.is_first():
            for age in range(3):
                np.testing.assert_array_equal(
                    time_step.observation[..., age], time_step.observation[..., 3]
                )


def test_pixels_of_any_size_and_colour():
    game = RealGame("ToyPixels-v0", 1, seed=0)
    pixels, _ = gymnasium.make("ToyPixels-v0").reset(seed=_first_episode_seed(0))
    red, green, blue = np.moveaxis(pixels.astype(float), 2, 0)
    grey = np.rint(0.299 * red + 0.587 * green + 0.114 * blue).astype(np.uint8)
    expected = cv2.resize(grey, (96, 96), interpolation=cv2.INTER_AREA)
    found = game.reset().observation[..., 0]
    assert np.abs(found.astype(int) - expected).max() <= 1  # OpenCV rounds in fixed point


def _first_episode_seed(seed: int) -> int:
    return int(np.random.default_rng(seed).integers(2**31))


def test_environments_without_pixels_are_refused_in_one_line():
    for name in ("CartPole-v1", "Pendulum-v1"):
        with pytest.raises(UnsuitableGameError, match=name) as caught:
            RealGame(name, 1, seed=0)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("Nan", "reward=nan"),
        ("Shape", r"\[31, 40, 3\].*\[30, 40, 3\]"),
        ("Dtype", "float32.*uint8"),
        ("Raises", "boiler"),
    ],
)
def test_a_broken_environment_is_named_in_one_line(fault, named):
    game = RealGame(f"Toy{fault}Pixels-v0", 1, seed=0)
    with pytest.raises(GameFaultError, match=named) as caught:
        game.reset()
        game.step(0)
    assert len(str(caught.value).splitlines()) == 1


def test_an_emulator_that_vanished_is_one_line(monkeypatch, tmp_path):
    pong = resolve_game("Pong")
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(MissingGameError, match="game=Pong cannot be opened") as caught:
        RealGame(pong, 1, seed=0)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("action", [-1, 4])
def test_wrong_actions_are_refused(action):
    game = RealGame("Breakout", 1, seed=0)
    game.reset()
    with pytest.raises(ValueError, match=f"action={action} .* 0 to 3"):
        game.step(action)


@pytest.mark.parametrize("wrong", [{"num_stacked_frames": 0}, {"seed": -1}])
def test_wrong_arguments_are_refused(wrong):
    (key,) = wrong
    with pytest.raises(ValueError, match=key):
        RealGame("Catch", **({"num_stacked_frames": 1, "seed": 0} | wrong))
