"""The command lines of everything but training: flags, `--help`, and one line for a mistake."""

import argparse
import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from smallwm_tf.cli.train_flags import problem_of_place, refuse


class CommandParser(argparse.ArgumentParser):
    """An `argparse` parser that refuses with one line and takes no shortened flags.

    Args:
      command: name of the module behind `smallwm_tf.`.
      description: what the command does, for `--help`.
      epilog: examples, printed as they are.
    """

    def __init__(self, command: str, description: str, epilog: str = ""):
        super().__init__(
            prog=f"python -m smallwm_tf.{command}",
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.command = f"smallwm_tf.{command}"

    def error(self, message: str):
        """Ends the program with one line and exit code 2."""
        refuse(f"{message.removeprefix('argument ')}; see --help", self.command)

    def add_agent_flags(self) -> None:
        """Adds `--run_dir` and `--export`, one of which names the agent, and how to open it."""
        which = self.add_mutually_exclusive_group(required=True)
        which.add_argument(
            "--run_dir", type=Path, metavar="DIR", help="a finished training run, e.g. runs/Pong-…"
        )
        which.add_argument(
            "--export", type=Path, metavar="DIR", help="what `smallwm_tf.export` wrote"
        )
        self.add_argument(
            "--unfinished",
            action="store_true",
            help="take the newest checkpoint of a run that is not finished",
        )
        self.add_argument("--game", help="refuse an agent of another game")
        self.add_argument(
            "--seed",
            type=whole_number(0, 2**31 - 1),
            help="of games and draws (default: the run's)",
        )


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A type for flags: whole numbers within bounds."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text[:20]) <= most:
            raise argparse.ArgumentTypeError(
                f"{ascii(text)[:60]} must be a whole number from {least} to {most}"
            )
        return int(text)

    return read


def positive_number(most: float) -> Callable[[str], float]:
    """A type for flags: numbers above zero."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0.0 < value <= most:
            raise argparse.ArgumentTypeError(
                f"{ascii(text)[:60]} must be a number above 0, at most {most:g}"
            )
        return value

    return read


def check_writable(flag: str, path: Path, command: str) -> None:
    """Refuses, before any work, a path at which no file or directory can be made."""
    is_file = path.exists() and not path.is_dir()
    if problem := problem_of_place(path.parent if is_file else path):
        refuse(f"--{flag}={path}: {problem}", command)


@contextlib.contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """Turns the errors that a user can mend into one line and exit code 2.

    Once TensorFlow is loaded: bad arguments are refused before.
    """
    from smallwm_tf.experiment.config import ConfigError
    from smallwm_tf.games.catalogue import UnknownGameError
    from smallwm_tf.games.frame_source import GameFaultError, UnsuitableGameError
    from smallwm_tf.runs import RunError
    from smallwm_tf.runs.files import reason_and_remedy
    from smallwm_tf.runs.scores import ScoresError

    try:
        yield
    except (
        RunError,
        ConfigError,
        ScoresError,
        UnknownGameError,
        GameFaultError,
        UnsuitableGameError,
        FloatingPointError,
    ) as error:
        refuse(str(error), command)
    except OSError as error:
        reason, remedy = reason_and_remedy(error, error.filename or "")
        place = f"{error.filename}: " if error.filename else ""
        refuse(f"{place}{reason}{'; ' if remedy else ''}{remedy}", command)
    except KeyboardInterrupt:
        refuse("interrupted", command)
