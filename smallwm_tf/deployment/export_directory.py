"""What `smallwm_tf.export` leaves on disk, and reading it back.

    <out>/metadata.json         game, actions, preprocessing, settings, versions, scores, SHA-256
    <out>/agent/                SavedModel of encoder + policy
    <out>/world_model/          SavedModel of decoder + dynamics, if asked for
    <out>/tf_agents_policy/     the agent by PolicySaver's conventions, if asked for

Only SavedModels that match the SHA-256 in the metadata are loaded: parts of different exports are
refused.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from smallwm_tf.deployment.saved_agent import SavedAgent
from smallwm_tf.deployment.saved_world_model import STATE_NAMES, SavedWorldModel
from smallwm_tf.deployment.trained_agent import (
    Look,
    TrainedAgent,
    draw_actions,
    load_run,
    read_experiment,
)
from smallwm_tf.experiment.messages import one_line
from smallwm_tf.games.catalogue import resolve_game
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import read_json, sha256_of, write_json
from smallwm_tf.runs.run_directory import describe_versions

_FORMAT = 1
_METADATA = "metadata.json"
AGENT, WORLD_MODEL, TF_AGENTS_POLICY = "agent", "world_model", "tf_agents_policy"


def write_export(
    agent: TrainedAgent,
    path: Path,
    with_world_model: bool = False,
    with_tf_agents_policy: bool = False,
    half_precision: bool = False,
) -> dict[str, Any]:
    """Writes an export, complete or not at all.

    Args:
      agent: from ``load_run`` with "direct" convolutions.
      path: the directory to make; it must not exist yet, or be empty.
      with_world_model: also the dream.
      with_tf_agents_policy: also by PolicySaver's conventions.
      half_precision: store weights as float16.

    Returns:
      The metadata.

    Raises:
      RunError: there is something at ``path``.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"out={path}: is not empty; name a new directory")
    world_model, policy = agent.networks
    temperature = agent.config.evaluation.temperature
    made = [parent for parent in path.parents if not parent.exists()]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.mkdir(parents=True)
        saved = SavedAgent(world_model.vqvae, policy, temperature, half_precision)
        saved.save(temporary / AGENT)
        if with_world_model:
            SavedWorldModel(world_model, half_precision).save(temporary / WORLD_MODEL)
        if with_tf_agents_policy:
            from smallwm_tf.deployment.tf_agents_policy import save_tf_agents_policy

            save_tf_agents_policy(saved, agent, temporary / TF_AGENTS_POLICY)
        metadata = _describe(agent, temporary, half_precision)
        write_json(temporary / _METADATA, metadata)
        if path.exists():
            path.rmdir()
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            try:
                parent.rmdir()
            except OSError:
                break
        raise
    return metadata


def load_export(path: Path | str) -> TrainedAgent:
    """The agent of an export.

    Raises:
      RunError: there is no export, or it is damaged; one line.
    """
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"export={path}: no such directory; write one with smallwm_tf.export")
    if not (path / _METADATA).is_file():
        raise RunError(f"export={path}: holds no export ({_METADATA} is missing)")
    metadata = read_json(path / _METADATA)
    if metadata.get("format") != _FORMAT:
        raise RunError(f"{path / _METADATA}: its format is not {_FORMAT}; use another version")
    experiment = read_experiment(metadata, path, path / _METADATA)
    _check_parts(path, metadata)
    agent = _load(path / AGENT)
    world_model = None
    if (path / WORLD_MODEL).is_dir():
        world_model = ExportedWorldModel(agent, _load(path / WORLD_MODEL), metadata)
    try:
        return TrainedAgent(
            experiment=experiment,
            action_meanings=tuple(metadata["action_meanings"]),
            world_model=world_model,
            encode=lambda frames: agent.encode(tf.constant(frames))["codes"].numpy(),
            look=lambda codes: _look(agent.act_on_codes(tf.constant(codes, tf.int32))),
            actor=ExportedActor(agent),
            iteration=int(metadata["iteration"]),
            num_interactions=int(metadata["num_interactions"]),
            parameters=dict(metadata["parameters"]),
            scores=metadata["scores"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path / _METADATA}: cannot be used ({one_line(error)})") from error


class ExportedActor:
    """What ``Actor`` is to a run."""

    def __init__(self, agent: Any):
        self._agent = agent

    def refresh(self) -> None:
        """An export does not change."""

    def act(
        self, observations: np.ndarray, temperature: float, seed: tf.Tensor, step: int
    ) -> np.ndarray:
        """Actions int32 [B] for uint8 [B, 96, 96, F]; ``step`` is folded into the seed pair."""
        logits = self._agent.serve(tf.constant(observations))["logits"]
        return draw_actions(logits, temperature, seed, step)


class ExportedWorldModel:
    """What ``WorldModel`` is to a run, as far as dreams and pictures need it."""

    def __init__(self, agent: Any, world_model: Any, metadata: Mapping[str, Any]):
        self._model = world_model
        config = metadata["config"]

        def mean_pixels(codes: tf.Tensor) -> tf.Tensor:
            return tf.cast(world_model.decode(codes)["frames"], tf.float32) / 255.0

        self.vqvae = SimpleNamespace(
            num_stacked_frames=config["game"]["num_stacked_frames"],
            encode=lambda frames: agent.encode(frames)["codes"],
            mean_pixels=mean_pixels,
        )
        self.dynamics = SimpleNamespace(
            prepare=lambda form=None: (), initial_state=self._initial_state
        )

    def step(self, codes, actions, state, kernels=None):
        """As ``WorldModel.step``; kernels are part of the graph."""
        outputs = self._model.predict(codes, actions, *state)
        state = tuple(outputs[name] for name in STATE_NAMES)
        return outputs["latent_logits"], outputs["reward_logits"], state

    def _initial_state(self, batch_size: int | tf.Tensor) -> tuple[tf.Tensor, ...]:
        outputs = self._model.initial_state(tf.constant(batch_size))
        return tuple(outputs[name] for name in STATE_NAMES)


def _describe(agent: TrainedAgent, path: Path, half_precision: bool) -> dict[str, Any]:
    experiment, config = agent.experiment, agent.config
    scores = {key: value for key, value in (agent.scores or {}).items() if key != "lengths"}
    versions = describe_versions()
    versions["machine"].pop("host")
    return {
        "format": _FORMAT,
        "game": experiment.game.name,
        "gymnasium_id": experiment.game.gymnasium_id,
        "seed": experiment.seed,
        "preset": experiment.preset,
        "iteration": agent.iteration,
        "num_interactions": agent.num_interactions,
        "action_meanings": list(agent.action_meanings),
        "preprocessing": {
            "frame": "grey, uint8, 96 x 96, resized by area averaging",
            "frame_skip": config.game.frame_skip if experiment.game.is_atari else 1,
            "pooled_frames": "maximum of the last two emulator frames"
            if experiment.game.is_atari and config.game.frame_skip > 1
            else None,
            "num_stacked_frames": config.game.num_stacked_frames,
            "stack": "oldest first; an episode begins with its first frame repeated",
            "sticky_actions": 0.0,
        },
        "temperature": config.evaluation.temperature,
        "weights": "float16" if half_precision else "float32",
        "parameters": agent.parameters,
        "scores": scores or None,
        "versions": versions,
        "config": config.as_configdict().to_dict(),
        "files": {
            str(file.relative_to(path)): {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.name != _METADATA
        },
    }


def _check_parts(path: Path, metadata: Mapping[str, Any]) -> None:
    """Every file of every part is in the metadata, and as it was written."""
    described = metadata.get("files")
    if not isinstance(described, Mapping):
        raise RunError(f"{path / _METADATA}: lists no files")
    present = {
        str(file.relative_to(path))
        for part in (AGENT, WORLD_MODEL)
        for file in (path / part).rglob("*")
        if file.is_file()
    }
    needed = {name for name in described if name.split("/")[0] == AGENT} | present
    for name in sorted(needed):
        entry = described.get(name)
        file = path / name
        problem = None
        if not isinstance(entry, Mapping):
            problem = "belongs to another export"
        elif file.is_symlink() or not file.is_file():
            problem = "is missing"
        elif file.stat().st_size != entry.get("bytes") or sha256_of(file) != entry.get("sha256"):
            problem = "does not match its SHA-256; parts of different exports do not fit"
        if problem:
            raise RunError(f"{file}: {problem}; export again")


def _load(path: Path) -> Any:
    try:
        return tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{path}: cannot be loaded ({reason}); export again") from error


def _look(outputs: Mapping[str, tf.Tensor]) -> Look:
    return Look(outputs["logits"].numpy(), outputs["value"].numpy())


def open_agent(
    run_dir: Path | None, export: Path | None, unfinished: bool = False, game: str | None = None
) -> TrainedAgent:
    """The agent that a command's flags name.

    Args:
      run_dir: a run, or None.
      export: an export, where there is no run.
      unfinished: see ``load_run``.
      game: the game that it must be of, if given.

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
