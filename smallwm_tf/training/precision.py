"""Which precision a run computes in, decided once, when it begins."""

import dataclasses
from pathlib import Path

import ml_collections

from smallwm_tf.experiment.config import editable
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.messages import show
from smallwm_tf.experiment.schedule import plan_of
from smallwm_tf.experiment.settings import FIELD_OF_KEY
from smallwm_tf.models.execution import resolve_precision
from smallwm_tf.runs import RunError
from smallwm_tf.runs.records import CONFIG, read_config


def with_precision(experiment: Experiment) -> Experiment:
    """The experiment with ``precision`` "float32" or "bfloat16" instead of "auto".

    A run keeps what it was made with, wherever it goes on; a new one takes what is faster here.

    Raises:
      RunError: the run directory's config.json is damaged.
    """
    if experiment.config.precision != "auto":
        return experiment
    config = editable(experiment.config)
    fastest = resolve_precision("auto") if plan_of(config).has_bfloat16 else "float32"
    config.precision = _recorded(experiment.run_dir) or fastest
    return dataclasses.replace(experiment, config=ml_collections.FrozenConfigDict(config))


def _recorded(run_dir: Path) -> str | None:
    """What a run was made with; runs older than the setting computed in float32."""
    if not (record := read_config(run_dir)):
        return None
    precision = record["config"].get("precision", "float32")
    allowed = FIELD_OF_KEY["precision"].allowed
    if precision not in allowed:
        raise RunError(f"{run_dir / CONFIG}: precision={show(precision)} must be one of {allowed}")
    return precision
