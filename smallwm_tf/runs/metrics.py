"""Metrics: one line of JSON per event in `metrics.jsonl`, and the same numbers for TensorBoard.

`metrics.jsonl` is the record; `events/` is derived from it. A resumed run first drops the lines
written after its checkpoint, and the TensorBoard files are then written anew, so neither holds
anything twice.
"""

import contextlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import cannot_write
from smallwm_tf.runs.run_directory import RunDirectory

_OWN_KEYS = ("event", "iteration", "step", "time", "not_finite")


class Metrics(contextlib.AbstractContextManager):
    """Writes the metrics of one run.

    Attributes:
        num_lines: Lines in `metrics.jsonl`, those of earlier sessions included.
    """

    def __init__(self, run: RunDirectory | Path) -> None:
        """Opens the metrics of a run directory for appending."""
        root = run.path if isinstance(run, RunDirectory) else run
        self.path = root / "metrics.jsonl"
        self._events = root / "events"
        self._writer: Any = None
        self._file = open(self.path, "ab")  # noqa: SIM115, kept open until close()
        self.num_lines = self._drop_half_line()

    def write(self, event: str, iteration: int, step: int, **scalars: Any) -> None:
        """Appends one line and flushes it; never raises for a value that is not finite.

        NaN and infinities are written as null, and named under "not_finite" with their value.

        Args:
            event: What happened, such as "dynamics"; TensorBoard shows "dynamics/loss".
            iteration: Iteration of the loop, from 1.
            step: Counts this event's occurrences over the whole run; TensorBoard's x axis.
            **scalars: Numbers, truth values, strings, None, or flat lists of numbers (only
                numbers go to TensorBoard).

        Raises:
            TypeError: A value that is none of these, named.
            OSError, RunError: The disk is full; the file is named.
        """
        line: dict[str, Any] = {"event": event, "iteration": int(iteration), "step": int(step)}
        not_finite: dict[str, str] = {}
        for name, value in scalars.items():
            if name in _OWN_KEYS:
                raise TypeError(f"{name} is a key of every line; give the metric another name")
            line[name] = _plain(name, value, not_finite)
        if not_finite:
            line["not_finite"] = not_finite
        line["time"] = round(time.time(), 3)
        with self._named_errors():
            self._file.write(json.dumps(line, allow_nan=False).encode("utf-8") + b"\n")
            self._file.flush()
        self.num_lines += 1
        self._write_events(line)

    def sync(self) -> int:
        """Forces everything to disk; returns the number of lines, for `rewind`."""
        with self._named_errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            if self._writer is not None:
                self._writer.flush()
        return self.num_lines

    def rewind(self, num_lines: int) -> int:
        """Drops every line after the first `num_lines`: what `sync` returned, 0 for a fresh start.

        Returns how many of these are missing, which is also told on stderr: 0 unless somebody
        edited the file.
        """
        kept = min(num_lines, self.num_lines)
        missing, dropped = num_lines - kept, self.num_lines - kept
        if missing:
            text = f"{self.path}: {missing} of {num_lines} lines are missing; curves have a gap"
            with contextlib.suppress(OSError, ValueError, AttributeError):
                print(text, file=sys.stderr)
        with open(self.path, "rb") as lines:
            for _ in range(kept):
                lines.readline()
            self._file.truncate(lines.tell())
        self.num_lines = kept
        if dropped or (kept and not self._events.exists()):
            self._close_events()
            shutil.rmtree(self._events, ignore_errors=True)
            for line in read_metrics(self.path):
                self._write_events(line)
        self.sync()
        return missing

    def read(self) -> list[dict[str, Any]]:
        """All lines as dictionaries."""
        return list(read_metrics(self.path))

    def close(self) -> None:
        """Flushes and closes; harmless when repeated, and where the disk is full."""
        if not self._file.closed:
            with contextlib.suppress(OSError, RunError):
                self.sync()
            with contextlib.suppress(OSError):
                self._file.close()
        with contextlib.suppress(RunError):
            self._close_events()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drop_half_line(self) -> int:
        """Removes the unfinished last line of a killed process; returns the number of lines."""
        num_lines, end = 0, 0
        with open(self.path, "rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    num_lines, end = num_lines + 1, end + len(line)
        self._file.truncate(end)
        return num_lines

    def _write_events(self, line: dict[str, Any]) -> None:
        import tensorflow as tf  # not above: reports read metrics without it

        with self._named_errors():
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(str(self._events))
            with self._writer.as_default(step=line["step"]):
                try:
                    for name, value in line.items():
                        is_number = isinstance(value, int | float)
                        if is_number and name not in ("iteration", "step", "time"):
                            tf.summary.scalar(f"{line['event']}/{name}", float(value))
                    self._writer.flush()
                except tf.errors.OpError:
                    # A writer that cannot flush stays the default, also of graphs traced later,
                    # when its context is left; a closed one does not.
                    with contextlib.suppress(tf.errors.OpError):
                        self._writer.close()
                    raise

    def _close_events(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._named_errors():
                writer.close()

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        import tensorflow as tf

        try:
            yield
        except OSError as error:  # of an open file, which does not tell its name
            error.filename = str(self.path)
            raise
        except tf.errors.OpError as error:
            raise cannot_write(str(self._events), error, self._events) from error


def read_metrics(path: Path | str) -> Iterator[dict[str, Any]]:
    """Yields the lines of a `metrics.jsonl`; a half-written last line is left out.

    Raises:
        RunError: A line is not JSON; the message has its number.
    """
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                content = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise RunError(f"{path}: line {number} is not JSON; remove it") from error
            yield content


def _plain(name: str, value: Any, not_finite: dict[str, str]) -> Any:
    """The value as JSON can hold it; remembers under `name` what is not finite."""
    if value is None or isinstance(value, bool | str):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.ndim > 1:
        raise TypeError(f"metric {name}: {array.dtype} of shape {array.shape} cannot be written")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        not_finite[name] = str(array.tolist())[:200]
        finite = [entry if math.isfinite(entry) else None for entry in np.ravel(array).tolist()]
        return finite if array.ndim else finite[0]
    return array.tolist()
