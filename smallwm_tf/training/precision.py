"""Which precision a run computes in, decided once, when it begins."""

import dataclasses
from pathlib import Path

import ml_collections

from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.schedule import plan_of
from smallwm_tf.models.execution import resolve_precision
from smallwm_tf.runs.files import read_json


def with_precision(experiment: Experiment) -> Experiment:
    """The experiment with ``precision`` "float32" or "bfloat16" instead of "auto".

    A run keeps what it was made with, wherever it goes on; a new one takes what is faster here.

    Raises:
      RunError: the run directory's config.json is damaged.
    """
    if experiment.config.precision != "auto":
        return experiment
    config = ml_collections.ConfigDict(experiment.config.as_configdict())
    fastest = resolve_precision("auto") if plan_of(config).has_bfloat16 else "float32"
    config.precision = _recorded(experiment.run_dir / "config.json") or fastest
    return dataclasses.replace(experiment, config=ml_collections.FrozenConfigDict(config))


def _recorded(file: Path) -> str | None:
    """What a run was made with; runs older than the setting computed in float32."""
    if not file.exists():
        return None
    settings = read_json(file).get("config")
    return settings.get("precision", "float32") if isinstance(settings, dict) else None
