"""Where runs stand, read from their directories; whoever looks changes nothing.

checkpoints/<newest>/progress.json   phases that are done, and seconds inside the next one
metrics.jsonl                        what finished phases took
scores.json                          evaluations
lock                                 there and touched lately while a process works on it
"""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import read_json
from smallwm_tf.runs.metrics import read_metrics
from smallwm_tf.runs.scores import ScoresError, read_scores

#: A lock's holder touches it every 20 seconds; clocks of other hosts may differ.
_ALIVE_SECONDS = 90.0
_MOST_OF_A_PHASE = 0.95  # while it is not finished
_ENOUGH_RUNS = 5  # of a preset, to know what its phases take


class Progress(NamedTuple):
    """Where a run stands."""

    state: str  # "done", "running" or "waiting"
    phase: str  # the one under way, "2: learn_policy", or "" before the first checkpoint
    fraction: float  # of the whole run, 0 to 1
    score: float | None  # mean return of the last evaluation; None before the first
    seconds_left: float | None  # None until a run with this preset has been through every phase


class Newest(NamedTuple):
    """What the newest checkpoint says."""

    phases_done: int
    per_iteration: int  # phases of one iteration
    phases: list[str]  # their names; empty in runs of before
    seconds: float  # that the phase under way had taken
    written: float  # seconds of the epoch


def is_done(run_dir: Path, num_iterations: int) -> bool:
    """Whether the evaluation after the last iteration is there and no phase is left.

    Where all checkpoints were removed to save room, the evaluation alone decides.
    """
    return _is_done(_scores(run_dir), newest_checkpoint(run_dir), num_iterations)


def newest_checkpoint(run_dir: Path) -> Newest | None:
    """The progress of the newest complete checkpoint; None if there is none."""
    for _ in range(3):  # it may be removed while it is read, as a newer one was written
        with contextlib.suppress(OSError, RunError, KeyError, TypeError, ValueError):
            names = [name for name in os.listdir(run_dir / "checkpoints") if name.isdigit()]
            file = run_dir / "checkpoints" / max(names, key=int) / "progress.json"
            content, written = read_json(file), file.stat().st_mtime
            return Newest(
                phases_done=int(content["phases_done"]),
                per_iteration=int(content["phases_per_iteration"]),
                phases=[str(name) for name in content.get("phases", ())],
                seconds=float(content["seconds"]),
                written=written,
            )
    return None


def expected_seconds(
    known: Mapping[int, float], num_phases: int, per_iteration: int
) -> list[float] | None:
    """What each phase of a run takes.

    Args:
        known: Seconds by a phase's position in the run.
        num_phases: Of the whole run.
        per_iteration: Phases of one iteration.

    Returns:
        As known, else the mean of the same phase in other iterations; None as long as some phase
        of the iteration was never seen.
    """
    means = []
    for kind in range(per_iteration):
        seen = [seconds for place, seconds in known.items() if place % per_iteration == kind]
        if not seen:
            return None
        means.append(fmean(seen))
    return [known.get(place, means[place % per_iteration]) for place in range(num_phases)]


class ProgressReader:
    """Reads where the runs of a sweep stand, and remembers what phases took."""

    def __init__(self) -> None:
        self._durations: dict[str, dict[Path, dict[int, float]]] = {}  # by preset and run
        self._per_iteration: dict[str, int] = {}
        self._phases_read: dict[Path, int] = {}

    def read(self, experiment: Experiment) -> Progress:
        """Where a run stands now."""
        run_dir, num_iterations = experiment.run_dir, experiment.config.collection.num_iterations
        newest, started = newest_checkpoint(run_dir), _working_since(run_dir)
        entries = _scores(run_dir)
        score = entries[-1].get("mean") if entries else None
        if newest is not None:
            self._learn_durations(experiment, newest)
        if _is_done(entries, newest, num_iterations):
            return Progress("done", "", 1.0, score, 0.0)
        state, phase = ("waiting", "") if started is None else ("running", "starting")
        done, inside, since = 0, 0.0, started
        if newest is not None:
            done, inside = newest.phases_done, newest.seconds
            phase = _name_of_phase(newest)
            since = started and max(started, newest.written)
        if since is not None:
            inside += max(0.0, time.time() - since)
        per_iteration = self._per_iteration.get(experiment.preset)
        num_phases = num_iterations * (per_iteration or 1)
        done = min(done, num_phases - 1)  # as if the last one were under way: it is not done
        expected = self._expected_seconds(experiment.preset, num_phases)
        if expected is None:
            return Progress(state, phase, done / num_phases, score, None)
        spent = sum(expected[:done]) + min(inside, _MOST_OF_A_PHASE * expected[done])
        total = max(sum(expected), 1e-9)
        return Progress(state, phase, spent / total, score, total - spent)

    def _expected_seconds(self, preset: str, num_phases: int) -> list[float] | None:
        if preset not in self._per_iteration:
            return None
        by_place: dict[int, list[float]] = {}
        for durations in self._durations.get(preset, {}).values():
            for place, seconds in durations.items():
                by_place.setdefault(place, []).append(seconds)
        known = {place: fmean(seconds) for place, seconds in by_place.items()}
        return expected_seconds(known, num_phases, self._per_iteration[preset])

    def _learn_durations(self, experiment: Experiment, newest: Newest) -> None:
        """Reads what finished phases took, once after each of them."""
        run_dir, preset = experiment.run_dir, experiment.preset
        self._per_iteration[preset] = newest.per_iteration
        seen = self._durations.setdefault(preset, {})
        is_enough = run_dir not in seen and len(seen) >= _ENOUGH_RUNS
        if is_enough or self._phases_read.get(run_dir) == newest.phases_done:
            return
        with contextlib.suppress(OSError, RunError, KeyError, TypeError, ValueError):
            seen[run_dir] = {
                int(line["step"]): float(line["seconds"])
                for line in read_metrics(run_dir / "metrics.jsonl")
                if line.get("event") == "phase"
            }
            self._phases_read[run_dir] = newest.phases_done


def _is_done(
    entries: Sequence[Mapping[str, Any]], newest: Newest | None, num_iterations: int
) -> bool:
    if not entries or entries[-1]["iteration"] < num_iterations:
        return False
    return newest is None or newest.phases_done >= num_iterations * newest.per_iteration


def _name_of_phase(newest: Newest) -> str:
    iteration, number = divmod(newest.phases_done, newest.per_iteration)
    name = newest.phases[number] if number < len(newest.phases) else f"phase {number + 1}"
    return f"{iteration + 1}: {name}"


def _scores(run_dir: Path) -> list[dict[str, Any]]:
    try:
        return read_scores(run_dir / "scores.json")
    except (OSError, ScoresError):  # train will say so
        return []


def _working_since(run_dir: Path) -> float | None:
    """Since when a process works on a run, in seconds of the epoch; None if none does."""
    lock = run_dir / "lock"
    try:
        if time.time() - lock.stat().st_mtime > _ALIVE_SECONDS:
            return None
        started = read_json(lock)["started"]
        return datetime.strptime(started, "%Y-%m-%d %H:%M:%S %z").timestamp()
    except (OSError, RunError, ValueError, KeyError, TypeError):
        return None
