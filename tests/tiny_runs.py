"""Tiny runs of Catch for tests of whole sessions."""

from types import SimpleNamespace

import numpy as np
from smallwm_tf.training.session import Session

from smallwm_tf.cli.train_flags import read_train_flags
from smallwm_tf.runs.run_directory import RunDirectory

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
    "dynamics.window_length": 4,
    "dynamics.context_steps": 2,
    "dynamics.epochs": "(2,1)",
    "dream.num_dreams": 4,
    "dream.horizon": 3,
    "ppo.num_updates": "(3,1)",
    "ppo.check_interval": 2,
    "ppo.minibatch_size": 8,
    "evaluation.num_episodes": 2,
    "inspection.held_out_steps": 30,
    "inspection.num_starts": 5,
    "inspection.horizon": 9,
    "logging.interval": 3,
    "checkpoints.keep": 2,
}


def experiment_for(path, differences=None):
    settings = SETTINGS | (differences or {})
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    return read_train_flags(
        ["train", "--game=Catch", "--config=catch", "--seed=3", f"--run_dir={path}", *words]
    ).experiment


def open_run(experiment) -> RunDirectory:
    return RunDirectory.open(
        experiment.run_dir, experiment.game, experiment.config, experiment.seed, experiment.preset
    )


def policy_of(session: Session) -> list[np.ndarray]:
    return [variable.numpy() for variable in session.policy.variables]


def look_over_the_shoulder(session: Session, seen: SimpleNamespace) -> None:
    """Notes the policy at every check, whether the actor plays with that policy's weights, and the
    learning rate of the VQ-VAE when it is alone."""
    write, warmup_steps = session.metrics.write, session.learner.warmup_steps

    def noting_write(event, *experiment, **values):
        if event == "check":
            seen.policies.append(policy_of(session))
        if event in ("check", "promise"):
            kernel = session.actor._weights[None][-1]
            seen.actor_is_fresh.append(np.array_equal(kernel, session.policy.prepare(None)))
        write(event, *experiment, **values)

    def noting_warmup_steps(rows):
        seen.rates.append((session.replay.size, float(session.learner.vqvae_optimizer.lr)))
        return warmup_steps(rows)

    session.metrics.write = noting_write
    session.learner.warmup_steps = noting_warmup_steps
