"""Scoring a policy in the real game (section 4 of the paper)."""

import contextlib
from collections.abc import Callable

import numpy as np

from smallwm_tf.agents.agent import Agent
from smallwm_tf.agents.playing import Episodes, play_episodes
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.games.game_batch import GameBatch
from smallwm_tf.games.opening import open_games

GAMES_AT_ONCE = 32  #: as many episodes of an evaluation as are played side by side


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
    with games_to_evaluate(experiment, *purpose) as games:
        return play_episodes(games, agent, num_episodes, seed, on_episodes, taken)


def games_to_evaluate(
    experiment: Experiment, *purpose: int | str
) -> contextlib.AbstractContextManager[GameBatch]:
    """As many copies of the game as are played side by side, apart by their purpose."""
    count = min(experiment.config.evaluation.num_episodes, GAMES_AT_ONCE)
    return contextlib.closing(open_games(experiment, count, *purpose))
