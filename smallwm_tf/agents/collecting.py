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
    episode_returns: list[float]  # raw, of the episodes that ended
    running_return: float  # of the one that goes on, so far
    states: list[State]  # of the game, before the steps 0, state_interval, 2·state_interval, …

    def steps(self) -> dict[str, np.ndarray]:
        """The steps alone: the arguments of ``Replay.append``, and what a replay file holds."""
        return {name: getattr(self, name) for name in STEPS}


def collect(
    game: RealGame,
    agent: Agent,
    num_steps: int,
    seed_path: tuple[int | str, ...],
    on_step: Callable[[], None] = lambda: None,
    state_interval: int | None = None,
    running_return: float = 0.0,
) -> Collected:
    """Plays ``num_steps`` steps, on inside the running episode.

    Args:
      game: was reset.
      agent: chooses the actions.
      num_steps: how many.
      seed_path: of the random numbers, see ``randomness.seed_pair``.
      on_step: called after every step; may raise to stop.
      state_interval: see ``play_steps``.
      running_return: of the running episode so far.
    """
    arrays = {
        name: np.empty([num_steps, *shape[1:]], dtype) for name, (dtype, shape) in STEPS.items()
    }
    returns, states = [], []
    steps = play_steps(game, agent, seed_pair(*seed_path), state_interval)
    for number, step in enumerate(itertools.islice(steps, num_steps)):
        arrays["frames"][number] = step.frame
        arrays["actions"][number] = step.action
        arrays["rewards"][number] = step.reward
        for name in ("terminated", "truncated", "lost_life"):
            arrays[name][number] = getattr(step, name)
        if step.state is not None:
            states.append(step.state)
        running_return += step.reward
        if step.is_last:
            returns.append(running_return)
            running_return = 0.0
        on_step()
    return Collected(
        **arrays, episode_returns=returns, running_return=running_return, states=states
    )
