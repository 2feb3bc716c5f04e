"""A trained agent to use: out of a run directory, or out of what `smallwm_tf.export` wrote.

Both kinds offer the same: real observations are encoded and acted on, codes are dreamed on and
decoded. Nothing on disk is changed.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from smallwm_tf.agents.actor import Actor
from smallwm_tf.experiment import config as settings
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.schedule import total_steps
from smallwm_tf.games.catalogue import resolve_game
from smallwm_tf.judging.evaluation import open_game
from smallwm_tf.models.build import build_models
from smallwm_tf.models.grid_convolution import to_grid_major
from smallwm_tf.models.parameter_counts import parameter_counts
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.world_model import WorldModel
from smallwm_tf.runs import RunError, scores
from smallwm_tf.runs.checkpoints import Checkpoints
from smallwm_tf.runs.files import read_json


class Look(NamedTuple):
    """What an agent makes of codes; B grids."""

    logits: np.ndarray  # float32 [B, M]
    values: np.ndarray  # float32 [B], discounted clipped rewards that the critic expects


@dataclass(frozen=True)
class TrainedAgent:
    """An agent and how it was made.

    Attributes:
      experiment: game, configuration, seed and place.
      action_meanings: M names of actions.
      world_model: encodes, decodes, predicts; None if only encoder and policy were exported.
      encode: uint8 [B, 96, 96, F] → codes int32 [B, 6, 6].
      look: codes int32 [B, 6, 6] → `Look`.
      actor: draws actions for real observations.
      iteration: trainings of the policy that went into it.
      num_interactions: real steps that it has learned from.
      parameters: counts by part, as in the paper's Table 3.
      scores: the newest entry of its `scores.json`; None if it was never evaluated.
      networks: the Keras models; None if it comes from an export.
    """

    experiment: Experiment
    action_meanings: tuple[str, ...]
    world_model: Any
    encode: Callable[[np.ndarray], np.ndarray]
    look: Callable[[np.ndarray], Look]
    actor: Any
    iteration: int
    num_interactions: int
    parameters: dict[str, int]
    scores: dict[str, Any] | None
    networks: tuple[WorldModel, PolicyAndValue] | None = None

    @property
    def config(self):
        """The run's settings."""
        return self.experiment.config

    def with_settings(self, seed: int | None = None, **changes: Any) -> "TrainedAgent":
        """The same agent with another seed for games and draws, or other settings.

        Args:
          seed: None keeps the run's.
          **changes: by key, with "__" for the dot; None keeps the run's.
        """
        config = ml_collections.ConfigDict(self.config.as_configdict())
        given = {key.replace("__", "."): value for key, value in changes.items()}
        config.update_from_flattened_dict({k: v for k, v in given.items() if v is not None})
        seed = self.experiment.seed if seed is None else seed
        frozen = ml_collections.FrozenConfigDict(config)
        return replace(self, experiment=replace(self.experiment, config=frozen, seed=seed))


def load_run(
    path: Path | str, unfinished: bool = False, convolution: str | None = None
) -> TrainedAgent:
    """The agent of a run directory, from its newest checkpoint that verifies.

    Args:
      path: the run directory.
      unfinished: take a run that has not come to its end, once it has trained a policy.
      convolution: replaces the run's ``dynamics.convolution``; weights fit both.

    Raises:
      RunError: there is no run, it is damaged, or it is not finished; one line.
    """
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"run_dir={path}: no such directory; train first, or name a run")
    if not (path / "config.json").is_file():
        raise RunError(f"run_dir={path}: holds no run (config.json is missing); name a run")
    experiment = read_experiment(read_json(path / "config.json"), path, path / "config.json")
    config = experiment.config
    meanings = action_meanings(experiment)
    tf.keras.utils.set_random_seed(0)
    built_for = ml_collections.ConfigDict(config.as_configdict())
    if convolution:
        built_for.dynamics.convolution = convolution
    world_model, policy = build_models(built_for, len(meanings))
    checkpoints = Checkpoints(
        path / "checkpoints",
        {"vqvae": world_model.vqvae, "dynamics": world_model.dynamics, "policy": policy},
        read_only=True,
    )
    restored = checkpoints.restore_latest()
    progress = restored.progress if restored else {}
    trained, done = progress.get("policies_trained", 0), progress.get("phases_done", 0)
    total = config.collection.num_iterations * progress.get("phases_per_iteration", 1)
    if not trained or (done < total and not unfinished):
        remedy = ", or add --unfinished to take it as it is" if trained else ""
        raise RunError(
            f"run_dir={path}: the run is unfinished ({done} of {total} phases are done); "
            f"continue it with the command that started it{remedy}"
        )
    entries = scores.read_scores(path / "scores.json")
    entries = [entry for entry in entries if entry["iteration"] <= trained]

    encode = tf.function(world_model.vqvae.encode, reduce_retracing=True, autograph=False)

    @tf.function(reduce_retracing=True, autograph=False)
    def look(codes):
        return policy(to_grid_major(world_model.vqvae.quantizer.lookup(codes)))

    return TrainedAgent(
        experiment=experiment,
        action_meanings=meanings,
        world_model=world_model,
        encode=lambda frames: encode(tf.constant(frames)).numpy(),
        look=lambda codes: Look(*(tensor.numpy() for tensor in look(tf.constant(codes)))),
        actor=Actor(world_model.vqvae, policy),
        iteration=trained,
        num_interactions=total_steps(config, trained),
        parameters=parameter_counts(world_model, policy),
        scores=entries[-1] if entries else None,
        networks=(world_model, policy),
    )


def read_experiment(record: Mapping[str, Any], path: Path, source: Path) -> Experiment:
    """Game, settings and seed out of a ``config.json`` or an export's ``metadata.json``.

    Args:
      record: its content.
      path: the directory that it belongs to.
      source: the file, for messages.

    Raises:
      RunError: something is missing or cannot be used.
    """
    try:
        config = settings.build_config(settings.flatten(record["config"]))
        settings.validate(config)
        game, seed, preset = record["game"], record["seed"], str(record["preset"])
        if not isinstance(game, str) or not isinstance(seed, int):
            raise TypeError("game and seed must be text and a number")
    except (KeyError, TypeError, AttributeError, settings.ConfigError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RunError(f"{source}: cannot be used ({reason})") from error
    frozen = ml_collections.FrozenConfigDict(config)
    return Experiment(resolve_game(game), frozen, seed, path, preset, False, False)


def action_meanings(experiment: Experiment) -> tuple[str, ...]:
    """Names of the game's actions; opens it for a moment."""
    with contextlib.closing(open_game(experiment, "actions")) as game:
        return tuple(game.action_meanings)


def draw_actions(logits: tf.Tensor, temperature: float, seed: tf.Tensor, step: int) -> np.ndarray:
    """Actions int32 [B] of logits [B, M]; those that ``Actor.act`` would draw."""
    if temperature == 0.0:
        return np.argmax(logits, axis=-1).astype(np.int32)
    pair = tf.random.experimental.stateless_fold_in(seed, step)
    return tfp.distributions.Categorical(logits / temperature).sample(seed=pair).numpy()
