"""Dreams as environments: for TF-Agents, and for all that speaks Gymnasium.

Dreams begin at moments of the real game, which the agent plays for that at the start. Rewards are
clipped ones, drawn as the run's policy practised on them. All dreams end after `horizon` steps:
terminated as in the paper, truncated if the run has `dream.bootstrap_at_horizon`.
Gymnasium knows no discounts: the chances of ends, of runs with `dream.ends` = predicted, are those
of `dream_environment` alone, and so is what a policy sees beside codes.

Shapes: N dreams, F stacked frames, K embeddings, M actions.
"""

from typing import Any

import gymnasium
import numpy as np
import tensorflow as tf
from tf_agents.trajectories.time_step import TimeStep

from smallwm_tf.deployment.trained_agent import TrainedAgent, require_world_model
from smallwm_tf.experiment.config import editable
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.games.frame_source import check_at_least
from smallwm_tf.judging.open_loop import pictures_of
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from smallwm_tf.viewing.dreams import play_real_game

_OBSERVATIONS = ("codes", "frames")


def dream_environment(
    agent: TrainedAgent,
    num_dreams: int = 64,
    horizon: int | None = None,
    num_real_steps: int = 500,
) -> DreamEnvironment:
    """N dreams of an agent's world model side by side, as a TF-Agents `TFEnvironment`.

    Observations are codes, int32 [N, 6, 6], actions int32 [N]; reset and step are graph
    operations, and `seed(pair)` makes them repeat. Of runs whose policy sees more, observations are
    a `PolicyObservation` (`codes`, `last_actions`, `hidden`).

    Args:
        agent: From `load_run`, or from `load_export` with a world model.
        num_dreams: N.
        horizon: Steps of a dream; the run's own if left out.
        num_real_steps: Of the real game, among which dreams begin.

    Raises:
        RunError: The agent has no world model.
        ValueError: A number is out of range.
    """
    require_world_model(agent)
    config = editable(agent.config)
    config.dream.num_dreams = num_dreams
    config.dream.horizon = config.dream.horizon if horizon is None else horizon
    for name in ("num_dreams", "horizon"):
        check_at_least(name, config.dream[name], 1)
    check_at_least("num_real_steps", num_real_steps, 1)
    dreamer = Dreamer(agent.world_model, DreamSettings.of(config))
    return DreamEnvironment(dreamer, play_real_game(agent, num_real_steps), config)


class _Dreams:
    """What both kinds of Gymnasium environments have in common: N dreams in NumPy."""

    def __init__(
        self, agent: TrainedAgent, count: int, horizon: int | None, observations: str, steps: int
    ):
        if observations not in _OBSERVATIONS:
            raise ValueError(f"observations={observations!r} must be {' or '.join(_OBSERVATIONS)}")
        self._environment = dream_environment(agent, count, horizon, steps)
        self._world_model, self._shows_frames = agent.world_model, observations == "frames"
        self._reset = tf.function(self._environment.reset, autograph=False)
        self._step = tf.function(self._environment.step, autograph=False)
        self._decode = tf.function(agent.world_model.decode, autograph=False)
        self._is_terminal = not agent.config.dream.bootstrap_at_horizon
        self._is_seeded = False
        self._codes = np.zeros([count, GRID_SIZE, GRID_SIZE], np.int32)
        num_frames = agent.world_model.num_stacked_frames
        self.observation_space = (
            gymnasium.spaces.Box(0, 255, (FRAME_SIZE, FRAME_SIZE, num_frames), np.uint8)
            if self._shows_frames
            else gymnasium.spaces.MultiDiscrete([agent.world_model.num_embeddings] * GRID_SIZE**2)
        )
        self.action_space = gymnasium.spaces.Discrete(len(agent.action_meanings))

    def reset(self, generator: np.random.Generator, seed: int | None) -> np.ndarray:
        """New dreams; with a seed, or the first time, random numbers from the generator."""
        if seed is not None or not self._is_seeded:
            pair = generator.integers(-(2**31), 2**31, size=2, dtype=np.int64)
            self._environment.seed(tf.constant(pair, tf.int32))
            self._is_seeded = True
        return self._observe(self._reset())

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Observations, rewards float32 [N], terminated and truncated, bool [N]."""
        step = self._step(tf.constant(actions, tf.int32))
        is_over = step.is_last().numpy()
        terminated = is_over if self._is_terminal else np.zeros_like(is_over)
        return self._observe(step), step.reward.numpy(), terminated, is_over & ~terminated

    def pictures(self) -> np.ndarray:
        """Newest frames, uint8 [N, 96, 96]."""
        return pictures_of(self._world_model, tf.constant(self._codes))

    def _observe(self, step: TimeStep) -> np.ndarray:
        codes = tf.nest.flatten(step.observation)[0]  # a policy may see more
        self._codes = codes.numpy()
        if self._shows_frames:
            pixels = self._decode(codes)
            return tf.cast(tf.round(255.0 * pixels), tf.uint8).numpy()
        return self._codes.reshape(len(self._codes), -1).astype(np.int64)


class DreamEnv(gymnasium.Env):
    """A dream as a Gymnasium environment, for Stable-Baselines3 and other libraries.

    Observations are "codes", int64 [36] from 0 to K-1 (the grid row by row), or "frames", decoded
    pictures, uint8 [96, 96, F]. `render()` shows the newest frame, uint8 [96, 96, 3].
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(
        self,
        agent: TrainedAgent,
        horizon: int | None = None,
        observations: str = "codes",
        num_real_steps: int = 500,
        render_mode: str | None = None,
    ):
        """The arguments are those of `dream_environment`.

        Raises:
            RunError: The agent has no world model.
            ValueError: An argument is out of range.
        """
        self._dreams = _Dreams(agent, 1, horizon, observations, num_real_steps)
        self._is_over = True
        self.observation_space = self._dreams.observation_space
        self.action_space = self._dreams.action_space
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins a dream at another real moment; equal seeds begin, and go on, alike."""
        super().reset(seed=seed)
        self._is_over = False
        return self._dreams.reset(self.np_random, seed)[0], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Dreams a step on.

        Raises:
            ValueError: The action is none.
            gymnasium.error.ResetNeeded: The dream is over, or none was begun.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"action={action!r} must be from 0 to {self.action_space.n - 1}")
        if self._is_over:
            raise gymnasium.error.ResetNeeded("the dream is over: call reset() first")
        observations, rewards, terminated, truncated = self._dreams.step(np.array([action]))
        self._is_over = bool(terminated[0] or truncated[0])
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> np.ndarray | None:
        """The dream's newest frame if `render_mode` is "rgb_array"."""
        if self.render_mode != "rgb_array":
            return None
        return np.repeat(self._dreams.pictures()[0][..., np.newaxis], 3, axis=-1)


class DreamVectorEnv(gymnasium.vector.VectorEnv):
    """N dreams as a Gymnasium vector environment, for CleanRL: one graph call for all.

    Observations are those of `DreamEnv` with N in front. All dreams end together; the step after
    that begins new ones and ignores its actions (`AutoresetMode.NEXT_STEP`).
    """

    metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        agent: TrainedAgent,
        num_envs: int = 64,
        horizon: int | None = None,
        observations: str = "codes",
        num_real_steps: int = 500,
    ):
        """The arguments are those of `dream_environment`.

        Raises:
            RunError: The agent has no world model.
            ValueError: An argument is out of range.
        """
        self._dreams = _Dreams(agent, num_envs, horizon, observations, num_real_steps)
        self.num_envs = num_envs
        self.single_observation_space = self._dreams.observation_space
        self.single_action_space = self._dreams.action_space
        batched = gymnasium.vector.utils.batch_space
        self.observation_space = batched(self.single_observation_space, num_envs)
        self.action_space = batched(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins N dreams at other real moments; equal seeds begin, and go on, alike."""
        super().reset(seed=seed)
        return self._dreams.reset(self.np_random, seed), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Dreams a step on in all dreams, with actions [N].

        Raises:
            ValueError: An action is none.
        """
        actions = np.asarray(actions)
        if not self.action_space.contains(actions.astype(np.int64, copy=False)):
            raise ValueError(
                f"actions={actions!r} must be {self.num_envs} whole numbers from 0 to "
                f"{self.single_action_space.n - 1}"
            )
        return *self._dreams.step(actions), {}
