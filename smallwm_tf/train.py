"""Trains an agent: ``python -m smallwm_tf.train --game=Pong``.

The loop below is the paper's algorithm (section 3.4, "Iterative Training").
"""

import json
import sys

from smallwm_tf.command_line import TrainArguments, parse_train_arguments, refuse
from smallwm_tf.quiet_start import without_start_up_notices


def train(arguments: TrainArguments) -> None:
    """Runs or continues a training run.

    Args:
      arguments: what the command line asked for.
    """
    from smallwm_tf.progress import say
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
        session = Session(arguments, run)
        for iteration in range(1, arguments.config.collection.num_iterations + 1):
            session.collect(iteration)
            session.learn_world_model(iteration)
            session.learn_policy(iteration)
            session.evaluate(iteration)
        session.close()


def main() -> None:
    """Reads the command line and trains."""
    arguments = parse_train_arguments(sys.argv)
    with without_start_up_notices():
        import tensorflow as tf  # here, so that bad arguments are refused at once

        tf.config.list_physical_devices()  # looks for GPUs, aloud

    from smallwm_tf.envs.frame_source import GameFaultError, UnsuitableGameError
    from smallwm_tf.runs import RunError

    try:
        if arguments.dry_run:
            from smallwm_tf.report import describe

            report = describe(arguments)
            print(json.dumps(report.as_json()) if arguments.json else "\n".join(report.lines()))
            return
        train(arguments)
    except (RunError, GameFaultError, UnsuitableGameError, FloatingPointError) as error:
        refuse(str(error))
    except KeyboardInterrupt:
        refuse(
            f"interrupted; the same command continues {arguments.run_dir} "
            "from the last finished phase"
        )


if __name__ == "__main__":
    main()
