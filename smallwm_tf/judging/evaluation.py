"""Scoring a policy, and the random one, in the real game (section 4 of the paper)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from smallwm_tf.agents.agent import Agent, RandomAgent
from smallwm_tf.agents.playing import Episodes, play_episodes
from smallwm_tf.experiment.experiment import Experiment
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
    """TEMPORARY."""
    num_episodes = experiment.config.evaluation.num_episodes
    games = open_games(experiment, min(num_episodes, _GAMES_AT_ONCE), "evaluate", iteration)
    path = (experiment.seed, "evaluate", iteration)
    episodes = play_episodes(games, agent, num_episodes, path, on_episodes, taken)
    games.close()
    return episodes


def score_random_policy(experiment: Experiment) -> dict[str, Any]:
    """TEMPORARY."""
    num_episodes = experiment.config.evaluation.num_episodes
    games = open_games(experiment, min(num_episodes, _GAMES_AT_ONCE), "random_policy")
    agent = RandomAgent(games.num_actions)
    path = (experiment.seed, "random_policy")
    returns = play_episodes(games, agent, num_episodes, path).returns
    games.close()
    return scores.summarise(returns) | {"returns": returns}
