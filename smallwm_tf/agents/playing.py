"""Agents in the real game: one game step after step, or many episodes side by side.

Shapes: F stacked frames, N games.
"""

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import Agent
from smallwm_tf.experiment.randomness import seed_pair
from smallwm_tf.games.frame_source import State
from smallwm_tf.games.game_batch import GameBatch
from smallwm_tf.games.real_game import RealGame


class RealStep(NamedTuple):
    """One step of the real game: what was seen, what was done, what came of it."""

    observation: np.ndarray  # uint8 [96, 96, F]
    memory: Any  # the agent's, before the step
    action: int
    reward: float  # raw
    terminated: bool  # the episode truly ended
    truncated: bool  # a time limit cut it off
    lost_life: bool
    state: State | None  # of the game before the step, where it was asked for

    @property
    def frame(self) -> np.ndarray:
        """The newest frame of the observation, uint8 [96, 96]."""
        return self.observation[..., -1]

    @property
    def is_last(self) -> bool:
        """Whether the episode is over, one way or the other."""
        return self.terminated or self.truncated


def play_steps(
    game: RealGame, agent: Agent, seed: np.ndarray, state_interval: int | None = None
) -> Iterator[RealStep]:
    """Plays on, episode after episode, for as long as steps are asked for.

    The agent begins anew, even if the game, once reset, is in the middle of an episode.

    Args:
      game: goes on where it is.
      agent: chooses the actions.
      seed: int32 pair.
      state_interval: steps from one kept state of the game to the next; None keeps none.
    """
    time_step, memory, number = game.current_time_step(), agent.begin(1), 0
    while True:
        if time_step.is_last():
            time_step, memory = game.reset(), agent.begin(1)
        observation = time_step.observation
        is_kept = state_interval and number % state_interval == 0
        state = game.get_state() if is_kept else None
        remembered = memory
        (action,), memory = agent.act(observation[np.newaxis], memory, seed, number)
        time_step = game.step(action)
        is_last, was_cut = bool(time_step.is_last()), bool(time_step.discount)
        yield RealStep(
            observation=observation,
            memory=remembered,
            action=int(action),
            reward=float(time_step.reward),
            terminated=is_last and not was_cut,
            truncated=is_last and was_cut,
            lost_life=game.lost_life,
            state=state,
        )
        number += 1


class Episodes(NamedTuple):
    """Finished episodes."""

    returns: list[float]  # undiscounted, raw
    lengths: list[int]  # agent steps


def play_episodes(
    games: GameBatch,
    agent: Agent,
    num_episodes: int,
    seed: tuple[int | str, ...],
    on_episodes: Callable[[int], None] = lambda count: None,
    taken: list[np.ndarray] | None = None,
) -> Episodes:
    """Plays whole episodes side by side; only for running games are actions asked.

    None is dropped for being long, so means are not biased towards short episodes. Games that
    repeat themselves need no saved state: what was played before an interruption is played again
    from its actions, and therefore much faster by an agent without a memory, which is not asked.

    Args:
      games: as many copies of the game as are to be played at once.
      agent: chooses the actions.
      num_episodes: how many episodes to finish.
      seed: path of the random numbers, see ``randomness.seed_pair``.
      on_episodes: called at every step, with the number of episodes finished by it; may raise
        to stop.
      taken: actions [N] of the first steps, as they are known; the actions of all further steps
        are appended.
    """
    taken = [] if taken is None else taken
    pair, step = seed_pair(*seed), 0
    returns: list[float] = []
    lengths: list[int] = []
    while len(returns) < num_episodes:
        observations = games.reset()
        wanted = min(games.num_games, num_episodes - len(returns))
        running = np.arange(games.num_games) < wanted
        memory = agent.begin(wanted)  # always of the running games alone
        round_returns = np.zeros(games.num_games)
        round_lengths = np.zeros(games.num_games, int)
        while running.any():
            if step == len(taken) or tf.nest.flatten(memory):
                asked, memory = agent.act(observations[running], memory, pair, step)
            if step == len(taken):
                actions = np.zeros(games.num_games, np.int32)
                actions[running] = asked
                taken.append(actions)
            result = games.step(taken[step], active=running)
            observations = result.observations
            round_returns[running] += result.rewards[running]
            round_lengths[running] += 1
            goes_on = ~result.episode_over[running]
            memory = tf.nest.map_structure(operator.itemgetter(goes_on), memory)
            running = running & ~result.episode_over
            step += 1
            on_episodes(int((~goes_on).sum()))
        returns += round_returns[:wanted].tolist()
        lengths += round_lengths[:wanted].tolist()
    return Episodes(returns, lengths)
