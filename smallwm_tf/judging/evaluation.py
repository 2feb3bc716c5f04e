"""Scoring a policy, and the random one, in the real game (section 4 of the paper)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from smallwm_tf.agents.actor import Actor
from smallwm_tf.agents.collecting import Episodes, play_episodes
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.randomness import generator
from smallwm_tf.games.game_batch import GameBatch, random_policy_returns
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.runs import scores

_GAMES_AT_ONCE = 32


def evaluate(
    experiment: Experiment,
    actor: Actor,
    iteration: int,
    on_episodes: Callable[[int], None],
    taken: list[np.ndarray] | None = None,
) -> Episodes:
    """Plays ``evaluation.num_episodes`` whole episodes, up to 32 side by side.

    Args:
      experiment: game, configuration and seed of the run.
      actor: draws the actions, at ``evaluation.temperature``.
      iteration: keeps the random numbers of evaluations apart.
      on_episodes: called at every step, with the number of episodes finished by it; may raise
        to stop.
      taken: actions of the steps before an interruption, see ``play_episodes``.
    """
    config = experiment.config
    games = GameBatch(
        experiment.game,
        min(config.evaluation.num_episodes, _GAMES_AT_ONCE),
        config.game.num_stacked_frames,
        seed=game_seed(experiment.seed, "evaluate", iteration),
        **game_settings(config),
    )
    actor.refresh()
    episodes = play_episodes(
        games,
        actor,
        config.evaluation.num_episodes,
        config.evaluation.temperature,
        (experiment.seed, "evaluate", iteration),
        on_episodes,
        taken,
    )
    games.close()
    return episodes


def score_random_policy(experiment: Experiment) -> dict[str, Any]:
    """Summary and returns of the uniformly random policy, same game and number of episodes."""
    returns = random_policy_returns(
        experiment.game,
        experiment.config.evaluation.num_episodes,
        seed=game_seed(experiment.seed, "random_policy"),
        **game_settings(experiment.config),
    )
    return scores.summarise(returns) | {"returns": returns}


def open_game(experiment: Experiment, *purpose: int | str) -> RealGame:
    """A copy of the run's game with random numbers of its own; not yet reset.

    Args:
      experiment: game, configuration and seed of the run.
      purpose: keeps the random numbers of different copies apart.
    """
    config = experiment.config
    return RealGame(
        experiment.game,
        config.game.num_stacked_frames,
        seed=game_seed(experiment.seed, *purpose),
        **game_settings(config),
    )


def game_settings(config) -> dict[str, int]:
    """What every copy of the real game is opened with, besides its seed and its stack."""
    names = ("frame_skip", "noop_max", "max_episode_steps")
    return {name: getattr(config.game, name) for name in names}


def game_seed(seed: int, *path: int | str) -> int:
    """Seed of one copy, or one batch, of the real game."""
    return int(generator(seed, "game", *path).integers(2**31))
