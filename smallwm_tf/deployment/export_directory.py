"""What `smallwm_tf.export` leaves on disk, and reading it back.

    <out>/metadata.json         game, actions, preprocessing, settings, versions, scores, SHA-256
    <out>/agent/                SavedModel of encoder + policy
    <out>/world_model/          SavedModel of decoder + dynamics, if asked for
    <out>/tf_agents_policy/     the agent by PolicySaver's conventions, if asked for

Only SavedModels that match the SHA-256 in the metadata are loaded: parts of different exports are
refused. Checksums tell damage and mixtures, not who wrote them; see `program_check`.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from smallwm_tf.deployment.looking import METADATA, check_is_export, check_is_free
from smallwm_tf.deployment.program_check import FILES
from smallwm_tf.deployment.saved_agent import saved_code_policy, saved_frame_policy
from smallwm_tf.deployment.saved_world_model import SavedWorldModel
from smallwm_tf.deployment.trained_agent import TrainedAgent, require_world_model
from smallwm_tf.experiment.messages import show
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import (
    cannot_write,
    describe_file,
    living,
    read_json,
    remove_abandoned,
    temporary_name,
    what_differs,
    write_json,
)
from smallwm_tf.runs.manifest import DESCRIBED
from smallwm_tf.runs.records import EXPERIMENT
from smallwm_tf.runs.run_directory import describe_versions
from smallwm_tf.runs.schema import anything, each, fields, named, number, optional, text, whole

_FORMAT = 1
_METADATA = fields(
    {
        "gymnasium_id": text(255),
        "preprocessing": fields({"num_stacked_frames": whole(1)}),
        "temperature": number(0.0),
    },
    config=named(anything),
    **EXPERIMENT,
    iteration=whole(),
    num_interactions=whole(),
    action_meanings=each(text(), least=1),
    parameters=named(whole()),
    scores=optional(named(anything)),
    files=named(DESCRIBED),
)
AGENT, WORLD_MODEL, TF_AGENTS_POLICY = "agent", "world_model", "tf_agents_policy"


def write_export(
    agent: TrainedAgent,
    path: Path,
    with_world_model: bool = False,
    with_tf_agents_policy: bool = False,
    half_precision: bool = False,
) -> dict[str, Any]:
    """Writes an export, complete or not at all; returns the metadata.

    Args:
      agent: from ``load_run`` with "direct" convolutions.
      path: the directory to make; it must not exist yet, or be empty.
      with_world_model: also the dream.
      with_tf_agents_policy: also by PolicySaver's conventions.
      half_precision: store weights as float16.

    Raises:
      RunError: there is something at ``path``, a dream is asked for where there is none, or the
        disk is full or read-only.
    """
    check_is_free(path)
    if with_world_model:
        require_world_model(agent)
    world_model, policy = agent.world_model, agent.networks.policy
    how = agent.temperature(None), half_precision
    made = [parent for parent in path.parents if not parent.exists()]
    temporary = temporary_name(path)
    try:
        remove_abandoned(path)
        temporary.mkdir(parents=True)
        with living(temporary):
            if world_model is None:
                saved = saved_frame_policy(policy, *how)
            else:
                saved = saved_code_policy(world_model, policy, *how)
            saved.save(temporary / AGENT)
            if with_world_model:
                SavedWorldModel(world_model, half_precision).save(temporary / WORLD_MODEL)
            if with_tf_agents_policy:
                from smallwm_tf.deployment.tf_agents_policy import save_tf_agents_policy

                save_tf_agents_policy(saved, agent, temporary / TF_AGENTS_POLICY)
            metadata = _describe(agent, temporary, half_precision)
            write_json(temporary / METADATA, metadata)
            os.replace(temporary, path)  # which may be there, if it is empty
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            for parent in made:
                parent.rmdir()  # only what is empty goes
        if isinstance(error, OSError | tf.errors.OpError):
            raise cannot_write(f"out={path}", error, path) from error
        raise
    return metadata


def read_metadata(path: Path) -> dict[str, Any]:
    """What is known of an export, of which every part is as it was written.

    Raises:
      RunError: there is no export, or it is damaged; one line.
    """
    check_is_export(path)
    metadata = read_json(path / METADATA)
    if metadata.get("format") != _FORMAT:
        raise RunError(f"{path / METADATA}: its format is not {_FORMAT}; use another version")
    if problem := _METADATA(metadata, ""):
        raise RunError(f"{path / METADATA}: {problem}; export again")
    _check_parts(path, metadata["files"])
    return metadata


def _describe(agent: TrainedAgent, path: Path, half_precision: bool) -> dict[str, Any]:
    experiment, config = agent.experiment, agent.config
    is_pooled = experiment.game.is_atari and config.game.frame_skip > 1
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
            "pooled_frames": "maximum of the last two emulator frames" if is_pooled else None,
            "num_stacked_frames": config.game.num_stacked_frames,
            "stack": "oldest first; an episode begins with its first frame repeated",
            "sticky_actions": config.game.sticky_action_probability,
        },
        "temperature": config.evaluation.temperature,
        "weights": "float16" if half_precision else "float32",
        "parameters": agent.parameters,
        "scores": scores or None,
        "versions": versions,
        "config": config.as_configdict().to_dict(),
        "files": {name: describe_file(path / name) for name in _files(path, path)},
    }


def _files(folder: Path, root: Path) -> list[str]:
    """Names of all files below a folder, seen from the root."""
    return [str(file.relative_to(root)) for file in sorted(folder.rglob("*")) if file.is_file()]


def _check_parts(path: Path, described: Mapping[str, Any]) -> None:
    """Every file of every part is described, and as it was written."""
    needed = {name for name in described if name.split("/")[0] == AGENT}
    for name in sorted(needed.union(_files(path / AGENT, path), _files(path / WORLD_MODEL, path))):
        if (entry := described.get(name)) is None:
            raise RunError(f"{path / name}: belongs to another export; export again")
        if name.partition("/")[2] not in FILES:
            raise RunError(f"{path}: {show(name)} is no file of an export; export again")
        if problem := what_differs(path / name, entry):
            raise RunError(f"{path / name}: {problem}; parts of different exports do not fit")
