"""Collecting: real steps for the replay."""

import numpy as np

from smallwm_tf.agents.agent import Agent, HoldingAgent, RandomAgent
from smallwm_tf.agents.collecting import collect
from smallwm_tf.agents.networks import CodeNetworks
from smallwm_tf.experiment.config import Config
from smallwm_tf.experiment.schedule import (
    collecting_temperature,
    collection_steps,
    policy_repeat_probability,
    total_steps,
)
from smallwm_tf.runs.progress import Progress
from smallwm_tf.training.run import Run


class CollectPhase:
    """Plays the real game: at random in the first iteration, then with the policy."""

    name = "collect"
    place_type = None
    trains_policy = False

    def __init__(self, networks: CodeNetworks):
        self._networks = networks

    def perform(self, run: Run, iteration: int) -> None:
        num_steps = collection_steps(run.experiment.config, iteration)
        agent = collecting_agent(run.experiment.config, self._networks, iteration)
        with Progress(num_steps, f"{iteration}: collect", "step") as progress:

            def check_and_update() -> None:
                run.stop.check()  # what was collected so far is lost
                progress.update()

            path = (run.experiment.seed, "collect", iteration)
            given = (run.games[0], agent, num_steps, path, check_and_update)
            collected = collect(*given, running_return=run.running_return)
        run.running_return = collected.running_return
        run.keep_steps(f"{iteration:06d}.npz", collected.steps())
        returns = collected.episode_returns
        measures = {
            "episodes": len(returns),
            "mean_return": float(np.mean(returns)) if returns else None,
            "percent_steps_positive": 100.0 * float(np.mean(collected.rewards > 0)),
            "percent_steps_negative": 100.0 * float(np.mean(collected.rewards < 0)),
        }
        run.metrics.write(
            "collect", iteration, total_steps(run.experiment.config, iteration), **measures
        )


def collecting_agent(config: Config, networks: CodeNetworks, iteration: int) -> Agent:
    """Who plays real steps to learn from: nobody knows anything in the first iteration."""
    if iteration == 1:
        num_actions = networks.policy.num_actions
        return RandomAgent(num_actions, config.collection.repeat_probability)
    agent = networks.agent(collecting_temperature(config, iteration))
    repeat_probability = policy_repeat_probability(config, iteration)
    return HoldingAgent(agent, repeat_probability) if repeat_probability else agent
