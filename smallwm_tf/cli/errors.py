"""How a command refuses: exit code 2 and one line on stderr with what is wrong and the remedy."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from smallwm_tf.experiment.messages import show


class CommandLineError(ValueError):
    """A flag that cannot be used; the message is one line."""


def refuse(message: str, command: str) -> NoReturn:
    """Ends the program with one line on stderr and exit code 2."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr is closed
        print(f"{command}: error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def problem_of_place(path: Path, will_write: bool = True) -> str:
    """Why no directory can be at `path` or be made there, and the remedy; empty if one can."""
    wanted = existing = path.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    place = "" if existing == wanted else f"{show(str(existing))[1:-1]} "
    if not existing.is_dir():
        return f"{place}is not a directory; name another one"
    if will_write and not os.access(existing, os.W_OK | os.X_OK):
        return f"{place}cannot be written to; make it writable or name another one"
    return ""


def check_writable(command: str, **paths: Path | None) -> None:
    """Refuses, before any work, flags whose path can be neither a file nor a directory."""
    for flag, path in paths.items():
        if path is None:
            continue
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

    of_games = (UnknownGameError, UnsuitableGameError, GameFaultError)
    try:
        yield
    except (RunError, ConfigError, ScoresError, FloatingPointError, *of_games) as error:
        refuse(str(error), command)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        why = "; ".join(filter(None, reason_and_remedy(error, error.filename or "")))
        refuse(place + why, command)
    except KeyboardInterrupt:
        refuse("interrupted", command)
