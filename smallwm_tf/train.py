"""Trains an agent: ``python -m smallwm_tf.train --game=Pong``.

The loop below is the paper's algorithm (section 3.4, "Iterative Training").
"""

import contextlib
import json
import sys

from smallwm_tf.command_line import PROGRAM, TrainArguments, parse_train_arguments
from smallwm_tf.command_parser import one_line_errors
from smallwm_tf.progress import say
from smallwm_tf.quiet_start import load_tensorflow
from smallwm_tf.stopping import Stopped, StopRequest


def train(arguments: TrainArguments, stop: StopRequest | None = None) -> None:
    """Runs or continues a training run.

    Args:
      arguments: what the command line asked for.
      stop: says when to stop; never, if not given.

    Raises:
      Stopped: it was asked to; the checkpoint is written.
    """
    from smallwm_tf.report import describe
    from smallwm_tf.runs.run_directory import RunDirectory
    from smallwm_tf.session import Session

    report = describe(arguments)  # opens the game: one that cannot be used leaves nothing on disk
    with RunDirectory.open(
        arguments.run_dir, arguments.game, arguments.config, arguments.seed, arguments.preset
    ) as run:
        for line in report.lines():
            say(line)
        for change in run.changes:
            say(f"note: {change}")
        session = Session(arguments, run, stop)
        with contextlib.closing(session):
            for iteration in range(1, arguments.config.collection.num_iterations + 1):
                session.collect(iteration)
                session.learn_world_model(iteration)
                session.learn_policy(iteration)
                session.evaluate(iteration)


def main() -> None:
    """Reads the command line and trains."""
    arguments = parse_train_arguments(sys.argv)
    with StopRequest() as stop:
        _run(arguments, stop)


def _run(arguments: TrainArguments, stop: StopRequest) -> None:
    load_tensorflow()  # not before: bad arguments are refused at once

    with one_line_errors(PROGRAM):
        if arguments.dry_run:
            from smallwm_tf.report import describe

            report = describe(arguments)
            print(json.dumps(report.as_json()) if arguments.json else "\n".join(report.lines()))
            return
        try:
            train(arguments, stop)
        except Stopped as stopped:
            say(f"{stopped}: stopped; the same command goes on, {arguments.run_dir} has everything")


if __name__ == "__main__":
    main()
