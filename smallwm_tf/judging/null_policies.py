"""Null policies: play that looks at nothing. A score counts only beside the best of them.

Uniform play; play that holds its last action; the best of nine such policies, picked by as many
real steps as a run used to choose by; and of a trained agent its own actions, the state ignored.
"""

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from smallwm_tf.agents.agent import Agent, RandomAgent
from smallwm_tf.agents.playing import play_episodes, play_steps
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.randomness import generator, seed_pair
from smallwm_tf.experiment.schedule import plan_of
from smallwm_tf.games.opening import open_game
from smallwm_tf.judging.evaluation import games_to_evaluate
from smallwm_tf.models.imagination import Past
from smallwm_tf.runs import scores

UNIFORM, HOLDING, BEST_OF_NINE = "uniform", "holding", "best of nine"
BLIND_CONTROL = "blind control"
_HOLDING = 0.7  # chance that a step repeats the last action
_NUM_MIXES = 6


class ActionCounter:
    """An agent that counts which actions it takes; gives the agent that takes them blindly.

    Args:
      agent: who acts.
      num_actions: M.
    """

    def __init__(self, agent: Agent, num_actions: int):
        self._agent = agent
        self._counts = np.zeros(num_actions, int)

    def begin(self, num_games: int, past: Past | None = None) -> Any:
        """See ``Agent.begin``."""
        return self._agent.begin(num_games, past)

    def act(
        self, observations: np.ndarray, state: Any, seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, Any]:
        """See ``Agent.act``."""
        actions, state = self._agent.act(observations, state, seed, step)
        self._counts += np.bincount(actions, minlength=len(self._counts))
        return actions, state

    def blind_control(self) -> RandomAgent:
        """Draws from the mean distribution of the actions so far, whatever the game shows."""
        return RandomAgent(len(self._counts), probabilities=self._counts / self._counts.sum())


def nine_policies(num_actions: int) -> dict[str, RandomAgent]:
    """By name: three that hold actions more or less long, and six fixed mixes of actions, held."""
    uniform = {f"repeat {p:g}": RandomAgent(num_actions, p) for p in (0.0, _HOLDING, 0.9)}
    mixes = generator(0, "null_policies").dirichlet(np.full(num_actions, 0.5), _NUM_MIXES)
    drawn = {
        f"mix {number}": RandomAgent(num_actions, _HOLDING, mix)
        for number, mix in enumerate(mixes, start=1)
    }
    return uniform | drawn


def pick_best_of_nine(
    experiment: Experiment, num_steps: int, on_step: Callable[[], None] = lambda: None
) -> str:
    """Lets each of the nine play a ninth of the steps; the name of the one that was paid most.

    ``on_step`` is called after every step; it may raise to stop.
    """
    with contextlib.closing(open_game(experiment, "null_policies")) as game:
        paid = {}
        for name, agent in nine_policies(game.num_actions).items():
            game.reset()
            played = play_steps(game, agent, seed_pair(experiment.seed, "null_policies", name))
            paid[name] = 0.0
            for step in itertools.islice(played, num_steps // 9):
                paid[name] += step.reward
                on_step()
    return max(paid, key=paid.__getitem__)


def score_null_policies(
    experiment: Experiment,
    blind_control: Agent | None = None,
    on_episodes: Callable[[int], None] = lambda count: None,
) -> dict[str, dict[str, Any]]:
    """Summaries and returns by name, each of as many episodes as an evaluation has.

    Args:
      experiment: game, seed, and how many real steps its policies were chosen by; without any there
        is no best of nine.
      blind_control: from ``ActionCounter``, if there is an agent.
      on_episodes: called after every step that is played, with the number of episodes that it
        finished, of ``num_null_episodes`` in all; it may raise to stop.
    """
    with contextlib.closing(open_game(experiment, "null_policies")) as game:
        num_actions = game.num_actions
    agents: dict[str, Agent] = {
        UNIFORM: RandomAgent(num_actions),
        HOLDING: RandomAgent(num_actions, _HOLDING),
    }
    picked, num_steps = "", plan_of(experiment.config).real_steps().chosen_by
    if num_steps:
        picked = pick_best_of_nine(experiment, num_steps, lambda: on_episodes(0))
        agents[BEST_OF_NINE] = nine_policies(num_actions)[picked]
    if blind_control:
        agents[BLIND_CONTROL] = blind_control
    found = {name: _score(experiment, agent, name, on_episodes) for name, agent in agents.items()}
    if picked:
        found[BEST_OF_NINE] |= {"picked": picked, "picked_by_steps": num_steps}
    return found


def num_null_episodes(experiment: Experiment, with_blind_control: bool = False) -> int:
    """How many episodes ``score_null_policies`` plays."""
    is_chosen = bool(plan_of(experiment.config).real_steps().chosen_by)
    return (2 + is_chosen + with_blind_control) * experiment.config.evaluation.num_episodes


def _score(
    experiment: Experiment, agent: Agent, name: str, on_episodes: Callable[[int], None]
) -> dict[str, Any]:
    purpose = ("random_policy",) if name == UNIFORM else ("null_policies", name)
    num_episodes = experiment.config.evaluation.num_episodes
    with games_to_evaluate(experiment, *purpose) as games:
        seed = (experiment.seed, *purpose)
        returns = play_episodes(games, agent, num_episodes, seed, on_episodes).returns
    summary = scores.summarise(returns)
    normalised = scores.human_normalised_score(experiment.game.name, summary["mean"])
    return summary | {"human_normalised_mean": normalised, "returns": returns}
