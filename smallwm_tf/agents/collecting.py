"""Collecting real steps for the replay."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from smallwm_tf.agents.agent import Agent
from smallwm_tf.agents.playing import play_steps
from smallwm_tf.experiment.randomness import seed_pair
from smallwm_tf.games.frame_source import State
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.runs.replay_files import STEPS


class Collected(NamedTuple):
    """Consecutive real steps, and what else there was to note."""

    frames: np.ndarray  # uint8 [n, 96, 96]
    actions: np.ndarray  # int32 [n]
    rewards: np.ndarray  # float32 [n], raw
    terminated: np.ndarray  # bool [n]
    truncated: np.ndarray  # bool [n]
    lost_life: np.ndarray  # bool [n]
    episode_returns: list[float]  # of the episodes that ended
    states: list[State]  # of the game, before the steps 0, state_interval, 2·state_interval, …

    def steps(self) -> dict[str, np.ndarray]:
        """The steps alone: the arguments of ``Replay.append``, and what a replay file holds."""
        return {name: getattr(self, name) for name in STEPS}


class Collector:
    """Plays on inside the running episode from one collection to the next."""

    def __init__(self, game: RealGame):
        self._game = game
        self.episode_return = 0.0  #: raw, of the running episode so far

    def collect(
        self,
        agent: Agent,
        num_steps: int,
        seed_path: tuple[int | str, ...],
        on_steps: Callable[[int], None] = lambda count: None,
        state_interval: int | None = None,
    ) -> Collected:
        """Plays ``num_steps`` steps.

        Args:
          agent: chooses the actions.
          num_steps: how many.
          seed_path: of the random numbers, see ``randomness.seed_pair``.
          on_steps: called with the number of steps since its last call; may raise to stop.
          state_interval: see ``play_steps``.
        """
        arrays = {
            name: np.empty([num_steps, *shape[1:]], dtype) for name, (dtype, shape) in STEPS.items()
        }
        collected = Collected(**arrays, episode_returns=[], states=[])
        steps = play_steps(self._game, agent, seed_pair(*seed_path), state_interval)
        for number, step in enumerate(itertools.islice(steps, num_steps)):
            collected.frames[number] = step.frame
            collected.actions[number] = step.action
            collected.rewards[number] = step.reward
            collected.terminated[number] = step.terminated
            collected.truncated[number] = step.truncated
            collected.lost_life[number] = step.lost_life
            if step.state is not None:
                collected.states.append(step.state)
            self.episode_return += step.reward
            if step.is_last:
                collected.episode_returns.append(self.episode_return)
                self.episode_return = 0.0
            on_steps(1)
        return collected
