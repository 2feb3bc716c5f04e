"""Metrics: one line of JSON per event in `metrics.jsonl`, and what TensorBoard shows of it.

`metrics.jsonl` is the record; `events/` is derived from it. A resumed run first drops the lines
written after its checkpoint. The TensorBoard files are then compared with what is left, and
written anew wherever they differ, so neither holds anything twice. So it is with Weights & Biases,
where that is wished.
"""

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from smallwm_tf.runs import RunError
from smallwm_tf.runs.board import Board, Shown
from smallwm_tf.runs.event_files import fingerprint, fingerprint_of_files
from smallwm_tf.runs.files import cannot_write, parse_json
from smallwm_tf.runs.lock import check_held
from smallwm_tf.runs.plain_files import open_plain, open_to_append
from smallwm_tf.runs.progress import warn
from smallwm_tf.runs.run_directory import RunDirectory
from smallwm_tf.runs.schema import any_of, each, fields, named, number, optional, text, truth, whole
from smallwm_tf.runs.summaries import write_summary
from smallwm_tf.runs.wandb_writer import WandbWriter

_OWN_KEYS = ("event", "iteration", "step", "time", "not_finite")
_LONGEST_LINE = 2**20  # bytes
_NUMBER = any_of(optional(number()), truth())
_LINE = fields(
    {"time": number(), "not_finite": named(text())},
    event=text(),
    iteration=whole(),
    step=whole(),
)
_METRICS = named(any_of(_NUMBER, text(), each(_NUMBER), named(text())))


class Metrics(contextlib.AbstractContextManager):
    """Writes the metrics of one run.

    Attributes:
        num_lines: Lines in `metrics.jsonl`, those of earlier sessions included.
    """

    def __init__(self, run: RunDirectory | Path, wandb: str = "off") -> None:
        """Opens the metrics of a run directory for appending; changes nothing yet.

        Args:
            run: The directory.
            wandb: Whether Weights & Biases get them, too: "off", "offline" or "online".

        Raises:
            RunError: The file is no plain one, or a line is not one of metrics.
        """
        root = run.path if isinstance(run, RunDirectory) else run
        self.path = root / "metrics.jsonl"
        self._root, self._events = root, root / "events"
        self._board: Board | None = None  # None: earlier lines are still to be gone through
        self._wandb = WandbWriter(root, wandb) if wandb != "off" else None
        self._writer: Any = None
        self._file = open_to_append(self.path)  # kept open until close()
        self.num_lines = sum(1 for _ in read_metrics(self.path))
        self._is_new = True  # as long as a half line of a killed process may be there

    def write(self, event: str, iteration: int, step: int, **scalars: Any) -> None:
        """Appends one line and flushes it; never raises for a value that is not finite.

        NaN and infinities are written as null, and named under "not_finite" with their value.

        Args:
            event: What happened, such as "dynamics"; TensorBoard shows "dynamics/loss".
            iteration: Iteration of the loop, from 1.
            step: Counts this event's occurrences over the whole run, or what they are made of.
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
        if self._is_new:
            self._drop_lines(self.num_lines)
        check_held(self.path)
        with self._named_errors():
            self._file.write(json.dumps(line, allow_nan=False).encode("utf-8") + b"\n")
            self._file.flush()
        if self._board is None:
            self._board = Board(self._root)
            for earlier in islice(read_metrics(self.path), self.num_lines):
                list(self._board.of(earlier))
        self.num_lines += 1
        self._write_events(line)
        if self._wandb is not None:
            self._wandb.write(line)

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
        if missing := num_lines - kept:
            warn(f"{self.path}: {missing} of {num_lines} lines are missing; curves have a gap")
        self._drop_lines(kept)
        self.num_lines = kept
        recorded, self._board = Board(self._root), Board(self._root)
        shown = chain(recorded.beginning(), *map(recorded.of, read_metrics(self.path)))
        if fingerprint(entry.entry for entry in shown) != fingerprint_of_files(self._events):
            self._close_events()
            check_held(self._events)
            shutil.rmtree(self._events, ignore_errors=True)
            if beginning := list(self._board.beginning()):
                self._show(beginning)
            for line in read_metrics(self.path):
                self._write_events(line)
        else:
            self._board = recorded
        if self._wandb is not None:
            self._wandb.begin(read_metrics(self.path))
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
        if self._wandb is not None:
            self._wandb.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drop_lines(self, kept: int) -> None:
        """Cuts the file off after some lines; with all of them, what is half-written goes."""
        check_held(self.path)
        with open_plain(self.path) as lines:
            for _ in range(kept):
                lines.readline()
            end = lines.tell()
        if end < os.fstat(self._file.fileno()).st_size:
            self._file.truncate(end)
        self._is_new = False

    def _write_events(self, line: dict[str, Any]) -> None:
        self._show(self._board.of(line))

    def _show(self, entries: Iterable[Shown]) -> None:
        import tensorflow as tf  # not above: reports read metrics without it

        with self._named_errors():
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(str(self._events))
            with self._writer.as_default(step=0):
                try:
                    for entry in entries:
                        write_summary(entry)
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
        RunError: A line is none of metrics; the message has its number and the field.
    """
    with open_plain(Path(path)) as lines:
        number = 0
        while line := lines.readline(_LONGEST_LINE):
            number += 1
            if not line.endswith(b"\n"):
                if len(line) < _LONGEST_LINE:
                    return
                raise RunError(f"{path}: line {number} has over {_LONGEST_LINE} bytes; remove it")
            try:
                content = parse_json(line)
            except (ValueError, RecursionError) as error:
                reason = f" ({error})" if "finite" in str(error) else ""
                raise RunError(f"{path}: line {number} is not JSON{reason}; remove it") from error
            if problem := _LINE(content, "") or _METRICS(content, ""):
                raise RunError(f"{path}: line {number}: {problem}; remove it")
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
