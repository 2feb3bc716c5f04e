"""How a command refuses: exit code 2 and one line on stderr with what is wrong and the remedy."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from smallwm_tf.experiment.messages import printable, show
from smallwm_tf.runs.progress import tell

_INTERRUPTED = 130  # what shells call the end by SIGINT
_LONGEST_NAME = 255  # bytes
_LONGEST_PATH = 4000  # bytes; systems take 4096, and names are added


class CommandLineError(ValueError):
    """A flag that cannot be used; the message is one line."""


def refuse(message: str, command: str) -> NoReturn:
    """Ends the program with one line on stderr and exit code 2."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr is closed
        line = printable(" ".join(message.split()))
        print(f"{command}: error: {line}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def problem_of_place(path: Path, will_write: bool = True, is_file: bool = False) -> str:
    """Why no directory, or file, can be made at `path`, and the remedy; empty if one can.

    Where it is to be written to, this is tried: a few bytes are written beside it and removed.
    """
    if max(map(len, map(os.fsencode, path.parts)), default=0) > _LONGEST_NAME:
        return f"a name of more than {_LONGEST_NAME} bytes; take a shorter one"
    if len(os.fsencode(path.absolute())) > _LONGEST_PATH:
        return f"a path of more than {_LONGEST_PATH} bytes; take a shorter one"
    if is_file and path.is_dir():
        return "is a directory; name a file in it"
    if is_file and path.exists() and not path.is_file():
        return "is a device or a pipe; name a file"
    wanted = path.absolute()
    existing = wanted.parent if is_file else wanted
    while not os.path.lexists(existing):
        existing = existing.parent
    place = "" if existing == wanted else f"{show(str(existing))[1:-1]} "
    if not existing.is_dir():
        return f"{place}is not a directory; name another one"
    if will_write:
        try:
            with tempfile.TemporaryFile(dir=existing) as file:
                file.write(b"\0" * 4096)
                file.flush()
        except OSError as error:
            remedy = "make it writable, make room, or name another one"
            return f"{place}cannot be written to ({error.strerror}); {remedy}"
    return ""


def check_writable(command: str, is_file: bool = True, **paths: Path | None) -> None:
    """Refuses, before any work, flags at whose path no file, or else no directory, can be made."""
    for flag, path in paths.items():
        if path is not None and (problem := problem_of_place(path, is_file=is_file)):
            refuse(f"--{flag}={path}: {problem}", command)


@contextlib.contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """Turns the errors that a user can mend into one line and exit code 2; Ctrl-C's is 130."""
    from smallwm_tf.experiment.config import ConfigError
    from smallwm_tf.games.catalogue import UnknownGameError
    from smallwm_tf.games.faults import GameFaultError, UnsuitableGameError
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
        tell(f"{command}: interrupted")
        raise SystemExit(_INTERRUPTED) from None
