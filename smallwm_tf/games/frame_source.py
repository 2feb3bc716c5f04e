"""Where frames come from: the Atari emulator, or any Gymnasium environment with pixels.

Both sources yield single grey frames, uint8 [96, 96], raw rewards, and a state that can be
saved as plain arrays (no pickle) and continued exactly, later resets included. Neither knows
frame stacks or this project's time limit: those are `RealGame`'s and `GameBatch`'s.
This module imports no TensorFlow.
"""

import contextlib
import math
from typing import Any, NamedTuple

import cv2
import gymnasium
import numpy as np

from smallwm_tf.experiment.config import default_config
from smallwm_tf.experiment.messages import one_line, show
from smallwm_tf.experiment.settings import FRAME_SIZE, Config
from smallwm_tf.games.catalogue import Game, cannot_open
from smallwm_tf.games.faults import GameFaultError, does_not_repeat, mend, refuse_unsuitable
from smallwm_tf.games.random_state import random_state_from_array, random_state_to_array

State = dict[str, np.ndarray]
DEFAULT_SETTINGS = default_config().game
_RESET = ("observation", "info")
_STEP = ("observation", "reward", "terminated", "truncated", "info")


class Step(NamedTuple):
    """What one agent step yields."""

    frame: np.ndarray  # uint8 [96, 96]
    reward: float  # raw
    terminated: bool  # a true end
    truncated: bool  # a time limit of the environment itself
    lost_life: bool  # the player has fewer lives than before; of Atari games only


class AtariSource:
    """An Atari game with the paper's preprocessing.

    `gymnasium.wrappers.AtariPreprocessing` over the bare emulator: the action is repeated for
    `frame_skip` frames, the last two are max-pooled and resized to 96 x 96 grey; an episode
    starts with 1 to `noop_max` idle frames; sticky actions only if asked for, no end at a lost
    life, raw rewards. The frame returned with a true end is the wrapper's last pooled frame.
    """

    def __init__(self, game: Game, seed: int, settings: Config):
        emulator = _make(
            game,
            frameskip=1,
            repeat_action_probability=0.0,  # the emulator's state leaves out the action that sticks
            full_action_space=False,
            obs_type="grayscale",  # unused by the wrapper, and cheaper to render than RGB
            max_num_frames_per_episode=None,  # RealGame counts agent steps
        )
        played = self._emulator = emulator.unwrapped
        self._sticky: gymnasium.wrappers.StickyAction | None = None
        if probability := settings.sticky_action_probability:
            played = self._sticky = gymnasium.wrappers.StickyAction(played, probability)
        self._wrapper = gymnasium.wrappers.AtariPreprocessing(
            played,
            noop_max=settings.noop_max,
            frame_skip=settings.frame_skip,
            screen_size=FRAME_SIZE,
            grayscale_obs=True,
            terminal_on_life_loss=False,
        )
        self._first_seed: int | None = seed  # later episodes continue the random numbers
        self.action_meanings = tuple(self._emulator.get_action_meanings())

    def reset(self) -> np.ndarray:
        """Starts an episode after a random number of idle frames."""
        frame, _ = self._wrapper.reset(seed=self._first_seed)
        self._first_seed = None
        if self._sticky:
            self._sticky.last_action = 0  # as the emulator's own stickiness begins, idle
        return frame

    def step(self, action: int) -> Step:
        """Plays `frame_skip` emulator frames."""
        lives = self._emulator.ale.lives()
        frame, reward, terminated, truncated, _ = self._wrapper.step(action)
        lost_life = self._emulator.ale.lives() < lives
        return Step(frame, float(reward), terminated, truncated, lost_life)

    def get_state(self) -> State:
        """The emulator and its random numbers, the pooling buffers, NumPy's generator."""
        emulator_state = self._emulator.clone_state(include_rng=True).serialize()
        state = {
            "emulator": np.frombuffer(emulator_state, np.uint8).copy(),
            "pooling_buffers": np.stack(self._wrapper.obs_buffer),
            "random_state": random_state_to_array(self._emulator.np_random),
        }
        return state | ({"last_action": np.int64(self._sticky.last_action)} if self._sticky else {})

    def set_state(self, state: State) -> None:
        """Restores what `get_state` returned."""
        import ale_py

        buffers = self._wrapper.obs_buffer
        shape = (len(buffers), *buffers[0].shape)
        pooling_buffers = checked_pixels("'pooling_buffers'", state["pooling_buffers"], shape)
        serialised = np.asarray(state["emulator"])
        if serialised.ndim != 1 or serialised.dtype != np.uint8:
            raise ValueError("saved game state: 'emulator' must be a vector of uint8")
        generator = random_state_from_array(state["random_state"])
        last_action = int(state["last_action"]) if self._sticky else 0
        last = len(self.action_meanings) - 1
        if not 0 <= last_action <= last:
            raise ValueError(f"saved game state: 'last_action' must be 0 to {last}")
        self.reset()  # gives the emulator a running episode to restore into
        reference = self._emulator.clone_state(include_rng=True).serialize()
        if not 0 < serialised.size <= 4 * len(reference):
            raise ValueError(f"saved game state: 'emulator' has {serialised.size} bytes")
        try:
            self._emulator.restore_state(ale_py.ALEState(serialised.tobytes()))
        except Exception as error:
            raise ValueError(f"saved game state: the emulator refuses it ({error})") from error
        for buffer, saved in zip(buffers, pooling_buffers, strict=True):
            np.copyto(buffer, saved)
        self._emulator.np_random = generator
        if self._sticky:
            self._sticky.last_action = last_action
        self._first_seed = None

    def close(self) -> None:
        """Nothing to free: the emulator goes with the object."""


class GymnasiumSource:
    """Any Gymnasium environment with uint8 pixels and discrete actions.

    Frames are turned grey and resized to 96 x 96 by area averaging; frames are not skipped.
    Every episode starts with an explicit seed, drawn from a generator of its own. The state is
    that seed and the actions since: restoring plays them again, so it works for every
    environment that is repeatable after `reset(seed=...)`, without pickle.
    """

    def __init__(self, game: Game, seed: int):
        self._game = game
        self._env = _make(game)
        # A space that was never set is an AttributeError of the environment.
        observations, actions = (
            getattr(self._env, name, None) for name in ("observation_space", "action_space")
        )
        refuse_unsuitable(game, observations, actions)
        self._first_action = int(actions.start)
        self.action_meanings = self._name_actions(int(actions.n))
        self._random = np.random.default_rng(seed)
        self._episode_seed = 0
        self._actions: list[int] = []
        self._frame = np.zeros((FRAME_SIZE, FRAME_SIZE), np.uint8)

    def reset(self) -> np.ndarray:
        """Starts an episode with a fresh seed."""
        return self._start(int(self._random.integers(2**31)))

    def step(self, action: int) -> Step:
        """Plays one step of the environment."""
        self._actions.append(action)
        # A NumPy integer, as `action_space.sample()` gives.
        played = self._call(_STEP, np.int64(self._first_action + action))
        observation, reward, terminated, truncated, _ = played
        reward = self._read("reward", float, reward)
        terminated = self._read("terminated", bool, terminated)
        truncated = self._read("truncated", bool, truncated)
        self._frame = self._to_frame(observation)
        return Step(self._frame, reward, terminated, truncated, lost_life=False)

    def get_state(self) -> State:
        """The episode's seed and actions so far, the frame they led to, and later seeds."""
        return {
            "frame": self._frame,
            "episode_seed": np.int64(self._episode_seed),
            "actions": np.array(self._actions, np.int32),
            "random_state": random_state_to_array(self._random),
        }

    def set_state(self, state: State) -> None:
        """Starts the saved episode again and replays its actions."""
        generator = random_state_from_array(state["random_state"])
        actions, last = np.asarray(state["actions"]), len(self.action_meanings) - 1
        if actions.ndim != 1 or np.any((actions < 0) | (actions > last)):
            raise ValueError(f"saved game state: 'actions' must be 0 to {last}")
        self._start(int(state["episode_seed"]))
        for action in actions:
            self.step(int(action))
        if not np.array_equal(self._frame, state["frame"]):
            raise does_not_repeat(self._game, "frame")
        self._random = generator

    def close(self) -> None:
        """Closes the environment; one that fails at that ends no run."""
        with contextlib.suppress(Exception):
            self._env.close()

    def _start(self, seed: int) -> np.ndarray:
        self._episode_seed, self._actions = seed, []
        observation, _ = self._call(_RESET, seed=seed)
        self._frame = self._to_frame(observation)
        return self._frame

    def _call(self, returned: tuple[str, ...], *arguments: int, **options: int) -> tuple:
        """Calls reset or step, whichever returns these."""
        name = "reset" if returned is _RESET else "step"
        try:
            found = getattr(self._env, name)(*arguments, **options)
        except Exception as error:
            raise self._fault(f"{name}() raised {one_line(error)}", error) from error
        if not isinstance(found, tuple) or len(found) != len(returned):
            kind = f"{len(found)} values" if isinstance(found, tuple) else type(found).__name__
            raise self._fault(f"{name}() returned {kind}, not {', '.join(returned)}")
        return found

    def _read(self, name: str, kind: type, found: Any) -> float | bool:
        """A reward or flag of the last step as a Python number."""
        place = f"after step {len(self._actions)} of the episode"
        try:
            value = kind(found)
        except (TypeError, ValueError, OverflowError) as error:
            wanted = "a number" if kind is float else "true or false"
            raise self._fault(f"{name}={show(found)} {place} must be {wanted}") from error
        if not math.isfinite(value):
            raise self._fault(f"{name}={value} {place} must be finite")
        return value

    def _name_actions(self, num_actions: int) -> tuple[str, ...]:
        try:
            meanings = tuple(getattr(self._env.unwrapped, "get_action_meanings", tuple)())
        except Exception as error:
            raise self._fault(f"get_action_meanings() raised {one_line(error)}", error) from error
        if len(meanings) == num_actions and all(isinstance(name, str) for name in meanings):
            return meanings
        return tuple(f"ACTION_{number}" for number in range(num_actions))

    def _fault(self, what: str, error: BaseException | None = None) -> GameFaultError:
        remedy = mend("the environment", error) if error else "mend the environment"
        return GameFaultError(f"game {self._game.name}: {what}; {remedy}")

    def _to_frame(self, observation: Any) -> np.ndarray:
        space = self._env.observation_space
        try:
            found = np.asarray(observation)
        except Exception as error:
            raise self._fault(f"observation={show(observation)} is no array") from error
        if found.shape != space.shape or found.dtype != space.dtype:
            raise self._fault(
                f"observation is {found.dtype} {list(found.shape)}, its observation_space says "
                f"{space.dtype} {list(space.shape)}"
            )
        if found.ndim == 3:
            is_grey = found.shape[2] == 1
            found = found[..., 0] if is_grey else cv2.cvtColor(found, cv2.COLOR_RGB2GRAY)
        if found.shape != (FRAME_SIZE, FRAME_SIZE):
            return cv2.resize(found, (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_AREA)
        return found.copy()


def open_frame_source(game: Game, seed: int, settings: Config) -> AtariSource | GymnasiumSource:
    """Opens a game.

    Raises:
        MissingGameError: The environment or a package it needs cannot be loaded.
        UnsuitableGameError: No pixels, or no discrete actions.
    """
    return AtariSource(game, seed, settings) if game.is_atari else GymnasiumSource(game, seed)


def _make(game: Game, **settings: Any) -> gymnasium.Env:
    try:
        if game.is_atari:
            import ale_py  # registers the games

            ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no banner per emulator
        return gymnasium.make(game.gymnasium_id, disable_env_checker=True, **settings)
    except Exception as error:
        raise cannot_open(game, error) from error


def check_at_least(key: str, value: int, least: int) -> None:
    """Refuses what is no whole number, or too small a one, by its name."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{key}={value!r} must be a whole number, at least {least}")


def checked_pixels(name: str, saved: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A part of a saved state; raises `ValueError` if it is not uint8 of this shape."""
    found = np.asarray(saved)
    if found.shape != shape or found.dtype != np.uint8:
        raise ValueError(
            f"saved game state: {name} is {found.dtype} {list(found.shape)}, expected uint8 "
            f"{list(shape)}"
        )
    return found
