"""What a run came to, told at its end and when its command is repeated; no TensorFlow here."""

import contextlib
from pathlib import Path

from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.messages import duration, flag
from smallwm_tf.experiment.numbers import counted, with_error
from smallwm_tf.runs.manifest import find_problem, numbered
from smallwm_tf.runs.metrics import read_metrics
from smallwm_tf.runs.progress import say
from smallwm_tf.runs.run_directory import check_may_continue
from smallwm_tf.runs.scores import ScoresError, best_null_policy, read_scores, read_summaries
from smallwm_tf.sweeping.progress import is_done


def say_if_finished(experiment: Experiment) -> bool:
    """Whether nothing is left to do for an experiment; if so, says what came of it.

    Nothing on disk changes: a finished run keeps what it was made with, and what this command has
    otherwise is said. A damaged newest checkpoint is left to the run itself, which mends it.

    Raises:
      RunError: the run directory belongs to another game, seed or architecture, or is damaged.
    """
    run_dir = experiment.run_dir
    with contextlib.suppress(OSError):
        newest = next(iter(numbered(run_dir / "checkpoints")), None)
        if newest is None or not is_done(run_dir, experiment.config.collection.num_iterations):
            return False
        changes = check_may_continue(
            run_dir, experiment.game, experiment.config, experiment.seed, experiment.preset
        )
        if find_problem(newest, None):
            return False
        say_outcome(run_dir)
        for change in changes:
            if not change.startswith("precision: ") or experiment.config.precision != "auto":
                say(f"note: not used, the run is finished and keeps what it has: {change}")
        return True
    return False


def say_outcome(run_dir: Path) -> None:
    """Says what a finished run has reached, how long it took, where all is, and what comes next."""
    try:
        last = read_scores(run_dir / "scores.json")[-1]
        mean, num_steps = float(last["mean"]), int(last["num_interactions"])
        error = float(last["standard_error"] or 0.0)
    except (IndexError, KeyError, TypeError, ValueError):  # of another version, or damaged
        return
    seconds = sum(
        line.get("seconds", 0.0)
        for line in read_metrics(run_dir / "metrics.jsonl")
        if line.get("event") == "phase"
    )
    say(
        f"{run_dir}: finished, {counted(num_steps, 'step')} in "
        f"{counted(last['iteration'], 'iteration')}, {duration(seconds)} of work"
    )
    text = f"score: {with_error(mean, error)}"
    text += " (standard error)" if error else ""
    text += f", mean return of {counted(last.get('num_episodes') or 0, 'episode')}"
    with contextlib.suppress(OSError, ScoresError):
        nulls = read_summaries(run_dir / "null_policies.json")
        best = best_null_policy(nulls)
        text += f"; best null policy ({best}): "
        text += with_error(nulls[best]["mean"], nulls[best].get("standard_error"))
    say(text)
    say(f"figures: {run_dir / 'figures'}; checkpoints: {run_dir / 'checkpoints'}")
    run, out = flag("run_dir", run_dir), flag("out", Path("exports", run_dir.name))
    say(f"next: python -m smallwm_tf.evaluate {run} --video=episode.gif")
    say(f"      python -m smallwm_tf.export {run} {out}")
