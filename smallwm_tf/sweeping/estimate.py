"""What a sweep will take, from rates that one run of each preset is measured at here."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from smallwm_tf.experiment.config import Config
from smallwm_tf.experiment.messages import show
from smallwm_tf.sweeping import SweepError
from smallwm_tf.sweeping.planning import PlannedRun

_CHECKPOINT_BYTES = 12  # per parameter: a weight and two moments
_STEP_BYTES = 1000  # of a real step in the replay's files; games differ by a factor of two
_OTHER_BYTES = 20e6  # figures, metrics and TensorBoard's events of one run


class RunEstimate(NamedTuple):
    """What one run of a preset takes."""

    seconds: float
    memory_bytes: float
    disk_bytes: float


def measure(run: PlannedRun, environment: Mapping[str, str]) -> RunEstimate:
    """Measures the rates of a run for a minute, in a process of its own; writes nothing.

    Args:
        run: Any run with the preset.
        environment: Variables that its process would have.

    Raises:
        SweepError: It cannot be begun; the message is the run's own.
    """
    words = [*run.words(), "--dry_run", "--json"]
    measured = subprocess.run(
        [sys.executable, "-m", "smallwm_tf.train", *words],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if measured.returncode:
        last = " ".join(measured.stderr.strip().splitlines()[-1:])
        raise SweepError(f"--configs={show(run.config)}: cannot be measured ({last[:300]})")
    report = json.loads(measured.stdout.splitlines()[-1])
    return RunEstimate(
        seconds=float(report["seconds"]),
        memory_bytes=float(report["memory_bytes"]),
        disk_bytes=disk_bytes(
            run.experiment.config,
            report["training_total"],
            report["work"]["real_steps"]["learned_from"],
        ),
    )


def disk_bytes(config: Config, num_parameters: int, num_steps: int) -> float:
    """What a run keeps on disk, one more checkpoint while it saves included."""
    checkpoints = (config.checkpoints.keep + 1) * _CHECKPOINT_BYTES * num_parameters
    return checkpoints + _STEP_BYTES * num_steps + _OTHER_BYTES


def estimate_sweep(
    to_do: Sequence[PlannedRun], estimates: Mapping[str, RunEstimate], num_places: int
) -> dict[str, Any]:
    """Hours, memory and disk of all runs that are still to be done.

    Args:
        to_do: These runs, each counted as a whole one.
        estimates: By preset.
        num_places: How many of them run at a time.
    """
    each = [estimates[run.experiment.preset] for run in to_do]
    at_once = min(num_places, len(each))
    largest = sorted((run.memory_bytes for run in each), reverse=True)[:at_once]
    seconds = [run.seconds for run in each]
    return {
        "to_do": len(each),
        "runs_at_once": at_once,
        "hours": max(sum(seconds) / at_once, max(seconds)) / 3600 if each else 0.0,
        "memory_bytes": int(sum(largest)),
        "disk_bytes": int(sum(run.disk_bytes for run in each)),
        "per_run": {name: estimate._asdict() for name, estimate in estimates.items()},
    }
