"""Tiny runs of Catch for tests of whole sessions."""

import json
from types import SimpleNamespace

import numpy as np

from smallwm_tf.agents.networks import CodeNetworks
from smallwm_tf.cli.train_flags import read_train_flags
from smallwm_tf.judging import judge
from smallwm_tf.runs.run_directory import RunDirectory
from smallwm_tf.runs.stop_request import Stopped, StopRequest
from smallwm_tf.train import train
from smallwm_tf.training.run import Run
from smallwm_tf.training.world_model_agent import WorldModelAgent

SETTINGS = {
    "game.num_stacked_frames": 2,
    "collection.num_iterations": 2,
    "collection.first_iteration_steps": 50,
    "collection.steps_per_iteration": 14,
    "vqvae.batch_size": 5,
    "vqvae.warmup_epochs": 1,
    "vqvae.later_epochs": 1,
    "vqvae.update_interval": 8,
    "dynamics.channels": 8,
    "dynamics.convolution": "direct",  # less to trace
    "dynamics.window_length": 4,
    "dynamics.context_steps": 2,
    "dynamics.epochs": "(2,1)",
    "dream.num_dreams": 4,
    "dream.horizon": 3,
    "ppo.num_updates": "(3,1)",
    "ppo.check_interval": 2,
    "ppo.num_epochs": 1,  # less to trace
    "ppo.minibatch_size": 8,
    "evaluation.num_episodes": 2,
    "inspection.held_out_steps": 30,
    "inspection.num_starts": 5,
    "inspection.horizon": 9,
    "logging.interval": 3,
    "checkpoints.keep": 2,
}


#: Further ones of a model-free run.
MODEL_FREE = {
    "algorithm": "ppo",
    "precision": "float32",
    "collection.first_iteration_steps": 60,
    "collection.steps_per_iteration": 24,
    "ppo.num_actors": 2,
    "ppo.steps_per_rollout": 12,
    "ppo.check_interval": 0,
    "ppo.final_learning_rate_share": 0.0,
}


def experiment_for(path, differences=None):
    settings = SETTINGS | (differences or {})
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    return read_train_flags(
        ["train", "--game=Catch", "--config=catch", "--seed=3", f"--run_dir={path}", *words]
    ).experiment


class StopAfter(StopRequest):
    """Asks a run to stop at the n-th time that it looks."""

    def __init__(self, count: int):
        super().__init__()
        self._left = count

    @property
    def signal_name(self):
        self._left -= 1
        return "SIGTERM" if self._left < 0 else None

    @signal_name.setter
    def signal_name(self, value):
        pass


def train_in_pieces(experiment) -> int:
    """Trains, stopped again and again, a little later each time; returns how often."""
    for stops in range(100):
        try:
            train(experiment, StopAfter(3 ** (stops + 1)))
        except Stopped:
            continue
        return stops
    raise AssertionError("it comes to no end")


def logged(path) -> list[dict]:
    """The lines of metrics.jsonl without the times of day."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "time")} for line in lines]


def open_run(experiment) -> RunDirectory:
    return RunDirectory.open(
        experiment.run_dir, experiment.game, experiment.config, experiment.seed, experiment.preset
    )


def start_run(experiment, directory) -> Run:
    """What `train` works on; opened again, it goes on."""
    return Run(experiment, directory, WorldModelAgent)


def perform(run: Run, *names: str, iteration: int = 1) -> None:
    """Performs these phases of an iteration as `train` does; all of them without names."""
    for phase in run.algorithm.phases:
        if (not names or phase.name in names) and run.begin(phase, iteration):
            phase.perform(run, iteration)
            run.finish(phase, iteration)


def policy_of(run: Run) -> list[np.ndarray]:
    return [variable.numpy() for variable in run.algorithm.policy.variables]


def look_over_the_shoulder(run: Run, monkeypatch) -> SimpleNamespace:
    """Notes the policy at every check, which policies play, and the VQ-VAE's rate when alone.

    Returns:
      ``policies`` at each check; ``players``, the policies of the agents that played at the checks
      and, last in each iteration, at the promise; ``finders``, those of the agents that found the
      moments; ``rates``, pairs of replay size and learning rate.
    """
    seen = SimpleNamespace(policies=[], players=[], finders=[], rates=[])
    learner = run.algorithm.world_model_learner
    write, warmup_steps = run.metrics.write, learner.warmup_steps
    policy_of_agent = {}
    make_agent = CodeNetworks.agent

    def noting_agent(networks, temperature):
        agent = make_agent(networks, temperature)
        policy_of_agent[id(agent)] = (agent, policy_of(run))
        return agent

    def noting(name, notes):
        original = getattr(judge, name)

        def call(games, agent, *arguments):
            notes.append(policy_of_agent[id(agent)][1])
            return original(games, agent, *arguments)

        monkeypatch.setattr(judge, name, call)

    def noting_write(event, *experiment, **values):
        if event == "check":
            seen.policies.append(policy_of(run))
        write(event, *experiment, **values)

    def noting_warmup_steps(rows):
        seen.rates.append((run.algorithm.replay.size, float(learner.vqvae_optimizer.learning_rate)))
        return warmup_steps(rows)

    monkeypatch.setattr(CodeNetworks, "agent", noting_agent)
    noting("real_rewards", seen.players)
    noting("find_starts", seen.finders)
    run.metrics.write = noting_write
    learner.warmup_steps = noting_warmup_steps
    return seen
