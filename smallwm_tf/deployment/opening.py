"""Opening a trained agent: out of a run directory, or out of an export. Nothing on disk changes."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
import tensorflow as tf

from smallwm_tf.agents.episode_memory import MemoryKeeper
from smallwm_tf.agents.networks import build_networks
from smallwm_tf.deployment import export_directory
from smallwm_tf.deployment.exported_carrier import ExportedCarrier
from smallwm_tf.deployment.exported_world_model import ExportedWorldModel
from smallwm_tf.deployment.looking import check_is_run, refuse_unfinished
from smallwm_tf.deployment.program_check import check_program
from smallwm_tf.deployment.signatures import (
    Signature,
    check_outputs,
    signatures_of_agent,
    signatures_of_world_model,
)
from smallwm_tf.deployment.trained_agent import ExportedNetworks, TrainedAgent
from smallwm_tf.experiment import config as settings
from smallwm_tf.experiment.experiment import Experiment, Game
from smallwm_tf.experiment.messages import one_line, show
from smallwm_tf.experiment.schedule import total_steps
from smallwm_tf.games.catalogue import UnknownGameError, registered_game, resolve_game
from smallwm_tf.games.opening import open_game
from smallwm_tf.models.recurrent_stack import state_channels
from smallwm_tf.runs import RunError, scores
from smallwm_tf.runs.checkpoints import CheckpointError, Checkpoints, check_declared
from smallwm_tf.runs.plain_files import is_plain_directory
from smallwm_tf.runs.records import CONFIG, progress_problem
from smallwm_tf.runs.tensorflow_paths import taken_literally


def open_agent(
    run_dir: Path | None, export: Path | None, unfinished: bool = False, game: str | None = None
) -> TrainedAgent:
    """The agent that a command's flags name: of a run, else of an export; of the game, if given.

    Only a game that a person names may be imported (`module:Id`); what a run or an export says that
    it plays is looked up among the registered ones.

    Raises:
      RunError: it cannot be used, or plays another game.
      UnknownGameError: no game has the name that is given.
    """
    wanted = resolve_game(game) if game else None
    if run_dir:
        return load_run(run_dir, unfinished, game=wanted)
    return load_export(export, wanted)


def load_run(
    path: Path | str,
    unfinished: bool = False,
    convolution: str | None = None,
    game: Game | None = None,
) -> TrainedAgent:
    """The agent of a run directory, from its newest checkpoint that verifies.

    Args:
      path: of the run.
      unfinished: take a run that has not come to its end, once it has trained a policy.
      convolution: replaces the run's ``dynamics.convolution``; weights fit both.
      game: that it must be of; needed where that is not registered without an import.

    Raises:
      RunError: there is no run, it is damaged, or it is not finished; one line.
    """
    path = Path(path)
    record = check_is_run(path)
    experiment = _read_experiment(path, path / CONFIG, record, game)
    config = experiment.config
    action_meanings = _actions_of(experiment)
    built_for = settings.editable(config)
    built_for.precision = "float32"  # on any machine the same
    if convolution:
        built_for.dynamics.convolution = convolution
    networks = build_networks(built_for, len(action_meanings), experiment.seed)
    checkpoints = Checkpoints(path / "checkpoints", networks.components, read_only=True)
    restored = checkpoints.restore_latest()
    progress = restored.progress if restored else {"policies_trained": 0, "phases_done": 0}
    num_iterations = config.collection.num_iterations
    trained, done = progress.get("policies_trained", 0), progress.get("phases_done", 0)
    problem = progress_problem(progress)
    if not problem and trained > num_iterations:
        problem = f"policies_trained={trained} is above collection.num_iterations={num_iterations}"
    if problem:
        raise CheckpointError(f"{path / 'checkpoints'}: {problem}; use the version that wrote it")
    total = num_iterations * progress.get("phases_per_iteration", 1)
    refuse_unfinished(path, trained, done, total, unfinished)
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


def load_export(path: Path | str, game: Game | None = None) -> TrainedAgent:
    """The agent of an export.

    Args:
      path: of the export.
      game: that it must be of; needed where that is not registered without an import.

    Raises:
      RunError: there is no export, or it is damaged; one line.
    """
    path = Path(path)
    metadata = export_directory.read_metadata(path)
    source, dream = path / export_directory.METADATA, path / export_directory.WORLD_MODEL
    experiment = _read_experiment(path, source, metadata, game)
    action_meanings = _actions_of(experiment)
    if problem := _disagreement(metadata, experiment, action_meanings, game):
        raise RunError(f"{source}: {problem}; export again")
    config, num_actions = experiment.config, len(action_meanings)
    saved = _load(path / export_directory.AGENT, signatures_of_agent(config, num_actions))
    world_model, carrier, channels = None, None, state_channels(config)
    if config.ppo.sees_recurrent_state:
        carrier = ExportedCarrier(saved.advance, channels)
    if is_plain_directory(dream):
        loaded = _load(dream, signatures_of_world_model(config))
        num_frames, num_embeddings = config.game.num_stacked_frames, config.vqvae.num_embeddings
        counts = (num_frames, num_embeddings, num_actions)
        world_model = ExportedWorldModel(saved, loaded, *counts, tuple(channels))
    return TrainedAgent(
        experiment=experiment,
        action_meanings=action_meanings,
        networks=ExportedNetworks(
            saved,
            world_model,
            config.vqvae.num_embeddings,
            MemoryKeeper(config.ppo.repeat_probability > 0.0, carrier),
        ),
        iteration=metadata["iteration"],
        num_interactions=metadata["num_interactions"],
        parameters=dict(metadata["parameters"]),
        scores=metadata["scores"],
    )


def _read_experiment(
    path: Path, source: Path, record: Mapping[str, Any], game: Game | None
) -> Experiment:
    """Game, settings and seed out of the record in a ``config.json`` or ``metadata.json``."""
    try:
        config = settings.build_config(settings.flatten(record["config"]))
        settings.validate(config)
    except settings.ConfigError as error:
        raise RunError(f"{source}: cannot be used ({one_line(error)})") from error
    frozen = ml_collections.FrozenConfigDict(config)
    played = _game_of(source, record["game"], game)
    return Experiment(played, frozen, record["seed"], path, record["preset"])


def _game_of(source: Path, name: str, wanted: Game | None) -> Game:
    """The game that a file names: the one that a person wants, or a registered one."""
    if wanted and wanted.name == name:
        return wanted
    try:
        found = registered_game(name)
    except UnknownGameError as error:
        if wanted:
            raise _other_game(source, name, wanted) from error
        raise RunError(
            f"{source}: game={show(name)} is not registered here; if it is your own, add "
            "--game=module:Id, as it was trained with"
        ) from error
    if wanted and wanted != found:
        raise _other_game(source, found.name, wanted)
    return found


def _other_game(source: Path, name: str, wanted: Game) -> RunError:
    return RunError(
        f"game={wanted.name}: {source.parent} holds an agent of {show(name)[1:-1]}; leave --game "
        "out, or name another agent"
    )


def _actions_of(experiment: Experiment) -> tuple[str, ...]:
    """The names of the game's actions."""
    with contextlib.closing(open_game(experiment, "actions")) as played:
        return tuple(played.action_meanings)


def _disagreement(
    metadata: Mapping[str, Any],
    experiment: Experiment,
    action_meanings: tuple[str, ...],
    wanted: Game | None,
) -> str | None:
    """What an export's metadata says otherwise than its own settings or the game; None if all fits.

    Its SavedModels are held against the settings and the number of actions when they are loaded.
    """
    config = experiment.config
    said = {
        "action_meanings": (tuple(metadata["action_meanings"]), action_meanings),
        "num_stacked_frames": (
            metadata.get("preprocessing", {}).get("num_stacked_frames"),
            config.game.num_stacked_frames,
        ),
        "temperature": (metadata.get("temperature"), config.evaluation.temperature),
    }
    if wanted is None:  # else a person's word decides which game bears the name
        said["gymnasium_id"] = (metadata.get("gymnasium_id"), experiment.game.gymnasium_id)
    for name, (found, expected) in said.items():
        if found not in (None, expected):
            return f"{name}={show(found)}, but its settings and its game have {show(expected)}"
    return None


def _load(path: Path, wanted: Mapping[str, Signature]) -> Any:
    """A SavedModel whose program was looked at before TensorFlow sees it, and tried once."""
    check_program(path, wanted)
    try:
        with taken_literally(path) as place:
            check_declared(path / "variables", f"{place}/variables/variables")
            loaded = tf.saved_model.load(place)
        check_outputs(loaded, wanted)
    except Exception as error:  # TensorFlow raises many kinds on what is odd
        raise RunError(f"{path}: cannot be loaded ({one_line(error)}); export again") from error
    return loaded
