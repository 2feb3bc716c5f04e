"""Opening a trained agent: out of a run directory, or out of an export. Nothing on disk changes."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
import tensorflow as tf

from smallwm_tf.agents.networks import build_networks
from smallwm_tf.deployment import export_directory
from smallwm_tf.deployment.exported_world_model import ExportedWorldModel
from smallwm_tf.deployment.trained_agent import ExportedNetworks, TrainedAgent
from smallwm_tf.experiment import config as settings
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.messages import one_line
from smallwm_tf.experiment.schedule import total_steps
from smallwm_tf.games.catalogue import resolve_game
from smallwm_tf.games.opening import open_game
from smallwm_tf.runs import RunError, scores
from smallwm_tf.runs.checkpoints import Checkpoints
from smallwm_tf.runs.files import read_json


def open_agent(
    run_dir: Path | None, export: Path | None, unfinished: bool = False, game: str | None = None
) -> TrainedAgent:
    """The agent that a command's flags name: of a run, else of an export; of the game, if given.

    Raises:
      RunError: it cannot be used, or plays another game.
    """
    wanted = resolve_game(game) if game else None
    agent = load_run(run_dir, unfinished) if run_dir else load_export(export)
    if wanted and wanted != agent.experiment.game:
        raise RunError(
            f"game={wanted.name}: {run_dir or export} holds an agent of "
            f"{agent.experiment.game.name}; leave --game out, or name another agent"
        )
    return agent


def load_run(
    path: Path | str, unfinished: bool = False, convolution: str | None = None
) -> TrainedAgent:
    """The agent of a run directory, from its newest checkpoint that verifies.

    Args:
      path: of the run.
      unfinished: take a run that has not come to its end, once it has trained a policy.
      convolution: replaces the run's ``dynamics.convolution``; weights fit both.

    Raises:
      RunError: there is no run, it is damaged, or it is not finished; one line.
    """
    path = Path(path)
    record = path / "config.json"
    if not path.is_dir():
        raise RunError(f"run_dir={path}: no such directory; train first, or name a run")
    if not record.is_file():
        raise RunError(f"run_dir={path}: holds no run (config.json is missing); name a run")
    experiment = _read_experiment(path, record, read_json(record))
    config = experiment.config
    with contextlib.closing(open_game(experiment, "actions")) as game:
        action_meanings = tuple(game.action_meanings)
    built_for = ml_collections.ConfigDict(config.as_configdict())
    built_for.precision = "float32"  # on any machine the same
    if convolution:
        built_for.dynamics.convolution = convolution
    networks = build_networks(built_for, len(action_meanings), experiment.seed)
    checkpoints = Checkpoints(path / "checkpoints", networks.components, read_only=True)
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
    return TrainedAgent(
        experiment=experiment,
        action_meanings=action_meanings,
        networks=networks,
        iteration=trained,
        num_interactions=total_steps(config, trained),
        parameters=networks.parameters,
        scores=entries[-1] if entries else None,
    )


def load_export(path: Path | str) -> TrainedAgent:
    """The agent of an export.

    Raises:
      RunError: there is no export, or it is damaged; one line.
    """
    path = Path(path)
    metadata = export_directory.read_metadata(path)
    source, dream = path / export_directory.METADATA, path / export_directory.WORLD_MODEL
    experiment = _read_experiment(path, source, metadata)
    saved, world_model = _load(path / export_directory.AGENT), None
    if dream.is_dir():
        num_frames = experiment.config.game.num_stacked_frames
        world_model = ExportedWorldModel(saved, _load(dream), num_frames)
    try:
        return TrainedAgent(
            experiment=experiment,
            action_meanings=tuple(metadata["action_meanings"]),
            networks=ExportedNetworks(saved, world_model),
            iteration=int(metadata["iteration"]),
            num_interactions=int(metadata["num_interactions"]),
            parameters=dict(metadata["parameters"]),
            scores=metadata["scores"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{source}: cannot be used ({one_line(error)})") from error


def _read_experiment(path: Path, source: Path, record: Mapping[str, Any]) -> Experiment:
    """Game, settings and seed out of the record in a ``config.json`` or ``metadata.json``."""
    try:
        config = settings.build_config(settings.flatten(record["config"]))
        settings.validate(config)
        game, seed, preset = record["game"], record["seed"], str(record["preset"])
        if not isinstance(game, str) or not isinstance(seed, int):
            raise TypeError("game and seed must be text and a number")
    except (KeyError, TypeError, AttributeError, settings.ConfigError) as error:
        raise RunError(f"{source}: cannot be used ({one_line(error)})") from error
    frozen = ml_collections.FrozenConfigDict(config)
    return Experiment(resolve_game(game), frozen, seed, path, preset)


def _load(path: Path) -> Any:
    try:
        return tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise RunError(f"{path}: cannot be loaded ({one_line(error)}); export again") from error
