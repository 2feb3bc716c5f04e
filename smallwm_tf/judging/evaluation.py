"""Scoring a policy, and the random one, in the real game (section 4 of the paper)."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from smallwm_tf.agents.agent import Agent, RandomAgent
from smallwm_tf.agents.playing import Episodes, play_episodes
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.games.game_batch import GameBatch
from smallwm_tf.games.opening import open_games
from smallwm_tf.runs import scores

_GAMES_AT_ONCE = 32


def evaluate(
    experiment: Experiment,
    agent: Agent,
    iteration: int,
    on_episodes: Callable[[int], None],
    taken: list[np.ndarray] | None = None,
) -> Episodes:
    """Plays ``evaluation.num_episodes`` whole episodes, up to 32 side by side.

    The iteration keeps the random numbers of evaluations apart; for ``on_episodes`` and ``taken``
    see ``play_episodes``.
    """
    purpose = ("evaluate", iteration)
    num_episodes, seed = experiment.config.evaluation.num_episodes, (experiment.seed, *purpose)
    with _open_games(experiment, *purpose) as games:
        return play_episodes(games, agent, num_episodes, seed, on_episodes, taken)


def score_random_policy(experiment: Experiment) -> dict[str, Any]:
    """Summary and returns of the uniformly random policy, same game and number of episodes."""
    num_episodes = experiment.config.evaluation.num_episodes
    with _open_games(experiment, "random_policy") as games:
        agent, seed = RandomAgent(games.num_actions), (experiment.seed, "random_policy")
        returns = play_episodes(games, agent, num_episodes, seed).returns
    return scores.summarise(returns) | {"returns": returns}


def _open_games(
    experiment: Experiment, *purpose: int | str
) -> contextlib.AbstractContextManager[GameBatch]:
    count = min(experiment.config.evaluation.num_episodes, _GAMES_AT_ONCE)
    return contextlib.closing(open_games(experiment, count, *purpose))
