"""Playing the real game: collecting steps for the replay, and evaluating the policy."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from smallwm_tf.agents.actor import Actor
from smallwm_tf.experiment.randomness import generator, seed_pair
from smallwm_tf.games.game_batch import GameBatch
from smallwm_tf.games.real_game import RealGame


class Collected(NamedTuple):
    """Consecutive real steps, as ``Replay.append`` wants them, and the episodes they finished."""

    frames: np.ndarray  # uint8 [n, 96, 96]
    actions: np.ndarray  # int32 [n]
    rewards: np.ndarray  # float32 [n], raw
    ended: np.ndarray  # bool [n]
    episode_returns: list[float]


class Collector:
    """Plays on inside the running episode from one collection to the next.

    Args:
      game: the real game; its episode goes on where the last collection left it.
      actor: draws the actions.

    Attributes:
      episode_return: raw return of the running episode so far.
    """

    def __init__(self, game: RealGame, actor: Actor):
        self._game = game
        self._actor = actor
        self.episode_return = 0.0

    def collect(
        self,
        num_steps: int,
        temperature: float | None,
        seed: int,
        iteration: int,
        on_steps: Callable[[int], None],
        purpose: str = "collect",
        repeat_probability: float = 0.0,
    ) -> Collected:
        """Plays ``num_steps`` steps.

        Args:
          num_steps: how many.
          temperature: divides the policy's logits; None plays uniformly random actions.
          seed: of the run.
          iteration: keeps the random numbers of collections apart.
          on_steps: called with the number of steps since its last call.
          purpose: keeps the random numbers of different plays apart.
          repeat_probability: chance that a random action is the last one once more.
        """
        game = self._game
        random = generator(seed, purpose, iteration)
        random_actions = random.integers(game.num_actions, size=num_steps)
        is_new = random.random(num_steps) >= repeat_probability
        is_new[:1] = True
        random_actions = random_actions[np.maximum.accumulate(np.arange(num_steps) * is_new)]
        pair = seed_pair(seed, purpose, iteration)
        first = game.current_time_step()
        height, width = first.observation.shape[:2]
        frames = np.empty([num_steps, height, width], np.uint8)
        actions = np.empty([num_steps], np.int32)
        rewards = np.empty([num_steps], np.float32)
        ended = np.empty([num_steps], bool)
        episode_returns = []
        time_step = first
        for step in range(num_steps):
            if temperature is None:
                action = random_actions[step]
            else:
                observation = time_step.observation[np.newaxis]
                action = self._actor.act(observation, temperature, pair, step)[0]
            frames[step] = time_step.observation[..., -1]
            actions[step] = action
            time_step = game.step(np.int32(action))
            rewards[step] = time_step.reward
            ended[step] = time_step.is_last()
            self.episode_return += float(time_step.reward)
            if time_step.is_last():
                episode_returns.append(self.episode_return)
                self.episode_return = 0.0
                time_step = game.reset()
            on_steps(1)
        return Collected(frames, actions, rewards, ended, episode_returns)


class Episodes(NamedTuple):
    """Finished evaluation episodes."""

    returns: list[float]  # undiscounted, raw
    lengths: list[int]  # agent steps


def play_episodes(
    games: GameBatch,
    actor: Actor,
    num_episodes: int,
    temperature: float,
    seed: tuple[int | str, ...],
    on_episodes: Callable[[int], None],
    taken: list[np.ndarray] | None = None,
) -> Episodes:
    """Plays whole episodes side by side; only running games are encoded.

    Games that repeat themselves need no saved state: what was played before an interruption is
    played again from its actions, without the policy and therefore much faster.

    Args:
      games: as many copies of the game as are to be played at once.
      actor: draws the actions.
      num_episodes: how many episodes to finish.
      temperature: divides the policy's logits.
      seed: path of the random numbers, see ``randomness.seed_pair``.
      on_episodes: called at every step, with the number of episodes finished by it; may raise
        to stop.
      taken: actions [N] of the first steps, which are not asked for again; the actions of all
        further steps are appended.
    """
    taken = [] if taken is None else taken
    pair = seed_pair(*seed)
    returns: list[float] = []
    lengths: list[int] = []
    step = 0
    while len(returns) < num_episodes:
        observations = games.reset()
        wanted = min(games.num_games, num_episodes - len(returns))
        running = np.arange(games.num_games) < wanted
        round_returns = np.zeros(games.num_games)
        round_lengths = np.zeros(games.num_games, int)
        while running.any():
            if step == len(taken):
                actions = np.zeros(games.num_games, np.int32)
                actions[running] = actor.act(observations[running], temperature, pair, step)
                taken.append(actions)
            result = games.step(taken[step], active=running)
            observations = result.observations
            round_returns[running] += result.rewards[running]
            round_lengths[running] += 1
            finished = running & result.episode_over
            running = running & ~result.episode_over
            step += 1
            on_episodes(int(finished.sum()))
        returns.extend(float(value) for value in round_returns[:wanted])
        lengths.extend(int(value) for value in round_lengths[:wanted])
    return Episodes(returns, lengths)
