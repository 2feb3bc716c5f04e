"""Trains an agent: ``python -m smallwm_tf.train --game=Pong``.

The loop below is the paper's algorithm (section 3.4, "Iterative Training").
"""

import contextlib
import json
import sys
from pathlib import Path

from smallwm_tf.cli.errors import one_line_errors
from smallwm_tf.cli.outcome import say_if_finished, say_outcome
from smallwm_tf.cli.streams import put, results_alone
from smallwm_tf.cli.tensorflow_start import load_tensorflow
from smallwm_tf.cli.train_flags import PROGRAM, TrainFlags, parse_train_flags
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.interface.callable_module import make_callable
from smallwm_tf.runs.progress import say
from smallwm_tf.runs.stop_request import Stopped, StopRequest
from smallwm_tf.runs.wandb_writer import check_installed


def train(experiment: Experiment, stop: StopRequest | None = None) -> Path:
    """Runs or continues a training run; says what came of it, again if it is finished already.

    Args:
      experiment: what is asked for.
      stop: says when to stop; never, if not given.

    Returns:
      The run directory.

    Raises:
      RunError, ConfigError, GameFaultError and others: one line, and the remedy.
      Stopped: it was asked to; the checkpoint is written.
    """
    from smallwm_tf.games.repetition import check_repeats
    from smallwm_tf.runs.run_directory import RunDirectory
    from smallwm_tf.training.algorithms import ALGORITHMS
    from smallwm_tf.training.estimate import describe
    from smallwm_tf.training.precision import with_precision
    from smallwm_tf.training.run import Run

    if say_if_finished(experiment):
        return experiment.run_dir
    algorithm = ALGORITHMS[experiment.config.algorithm]
    check_repeats(experiment.game)
    experiment = with_precision(experiment)
    report = describe(experiment)  # opens the game: one that cannot be used leaves nothing on disk
    stop = stop or StopRequest()
    stop.check()
    with RunDirectory.open(
        experiment.run_dir, experiment.game, experiment.config, experiment.seed, experiment.preset
    ) as directory:
        say(f"run directory: {experiment.run_dir}")
        for line in report.lines():
            say(line)
        for change in directory.changes:
            say(f"note: {change}")
        with contextlib.closing(Run(experiment, directory, algorithm, stop)) as run:
            for iteration in range(1, experiment.config.collection.num_iterations + 1):
                # Collect, learn the world model, learn the policy in its dreams, evaluate;
                # model-free: learn the policy in the real game, evaluate.
                for phase in run.algorithm.phases:
                    if run.begin(phase, iteration):
                        phase.perform(run, iteration)
                        run.finish(phase, iteration)  # saves
    say_outcome(experiment.run_dir)
    return experiment.run_dir


def main() -> None:
    """Reads the command line and trains."""
    flags = parse_train_flags(sys.argv)
    answer = "stopping after this measurement" if flags.dry_run else "saving after this update"
    with StopRequest(answer) as stop:
        _run(flags, stop)


def _run(flags: TrainFlags, stop: StopRequest) -> None:
    with one_line_errors(PROGRAM), results_alone(flags.json):
        if not flags.dry_run and say_if_finished(flags.experiment):
            return
        check_installed(flags.experiment.config.logging.wandb)
        load_tensorflow()  # not before: what needs no work is told at once
        try:
            stop.check()
            if flags.dry_run:
                _describe(flags, stop)
            else:
                train(flags.experiment, stop)
        except Stopped as stopped:
            place = flags.experiment.run_dir
            kept = f"; the same command goes on, {place} has everything" if place.exists() else ""
            say(f"{stopped}: stopped{kept}")


def _describe(flags: TrainFlags, stop: StopRequest) -> None:
    """Prints what a run is going to be."""
    from smallwm_tf.games.repetition import check_repeats
    from smallwm_tf.training.estimate import describe
    from smallwm_tf.training.precision import with_precision

    check_repeats(flags.experiment.game)
    report = describe(with_precision(flags.experiment), timed=True, on_part=stop.check)
    put(*([json.dumps(report.as_json())] if flags.json else report.lines()))


make_callable(__name__, train)  # smallwm_tf.train(experiment)

if __name__ == "__main__":
    main()
