"""What a command prints: results that reach nobody are an error, a reader with enough is none."""

import contextlib
import os
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from smallwm_tf.cli.errors import refuse
from smallwm_tf.experiment.messages import printable
from smallwm_tf.runs import RunError
from smallwm_tf.runs.progress import failure_of, lead_nowhere, tell


class OutputError(RunError):
    """Results could not be printed; the message is one line."""


def prepare_streams() -> None:
    """For the start of a command: streams that are closed, and those of few letters.

    Where descriptors 0 to 2 are closed, the next files to be opened would become standard output,
    so the null device takes their place. Letters that a stream does not have are printed as
    `\\xe9`.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free: this one
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")
    sys.excepthook = _show_exception


def _show_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """For what nothing has caught: Ctrl-C is no fault, and told in one line."""
    if issubclass(kind, KeyboardInterrupt):
        tell("interrupted")
    else:
        sys.__excepthook__(kind, error, trace)


_results: list[Any] = []  # standard output while all else goes to standard error


@contextlib.contextmanager
def results_alone(wanted: bool = True) -> Iterator[None]:
    """Leaves standard output to `put`: what else is printed, by games too, goes to stderr."""
    if not wanted:
        yield
        return
    _results.append(sys.stdout)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = _results.pop()


def put(*lines: str) -> None:
    """Prints lines of a command's result.

    Raises:
      OutputError: they could not be printed: standard output is closed, or its disk is full.
    """
    text = printable("\n".join(lines))
    stream = _results[-1] if _results else sys.stdout
    try:
        if stream is None:
            raise OSError("it is closed")
        if failure := failure_of(stream):
            raise failure
        print(text, file=stream, flush=True)
    except BrokenPipeError as error:  # `… | head` has read enough
        lead_nowhere(stream, error)
    except (OSError, ValueError) as error:
        lead_nowhere(stream, error)
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"standard output: cannot be written ({reason}); the results were not shown"
        ) from error


def put_or_refuse(command: str, *lines: str) -> None:
    """As `put`; where that fails, the program ends with one line and exit code 2."""
    try:
        put(*lines)
    except OutputError as error:
        refuse(str(error), command)
