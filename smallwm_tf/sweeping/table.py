"""The runs of a sweep as lines: redrawn on a terminal, printed now and then elsewhere."""

import contextlib
import shutil
import time
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.messages import printable
from smallwm_tf.experiment.numbers import counted
from smallwm_tf.sweeping.progress import Progress

_SECONDS_BETWEEN_REPORTS = 300.0  # without a terminal
_ORDER = ("running", "failed", "stopped", "waiting", "done")


class Row(NamedTuple):
    """One run, where it stands, and what went wrong if something did."""

    experiment: Experiment
    progress: Progress  # its state may also be "failed" or "stopped"
    message: str = ""


def line_of(row: Row) -> str:
    """A run in one line: game, seed, config, phase, per cent, latest score, time left."""
    experiment, progress = row.experiment, row.progress
    phase = progress.phase if progress.state == "running" else progress.state
    score = ""
    if progress.score is not None:
        score = f"{progress.score:,.{1 if abs(progress.score) >= 10 else 2}f}"
    cells = (
        f"{experiment.game.name:<16}",
        f"{experiment.seed:>4}",
        f"{experiment.preset:<16}",
        f"{phase:<22}",
        f"{100 * progress.fraction:>3.0f} %",
        f"{score:>10}",
        f"{duration(progress.seconds_left) if progress.state in ('running', 'waiting') else '':>8}",
    )
    return printable(f"{'  '.join(cells)}  {row.message}".rstrip())


HEADING = (
    f"{'game':<16}  {'seed':>4}  {'config':<16}  {'phase':<22}  {'done':>5}  {'score':>10}  "
    f"{'left':>8}"
)


def duration(seconds: float | None) -> str:
    """ "50 s", "12 min", "3.4 h", or "" if it is not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def summary(rows: Sequence[Row]) -> str:
    """How many runs are in which state, and when all will be done."""
    states = [row.progress.state for row in rows]
    counts = ", ".join(f"{states.count(s)} {s}" for s in reversed(_ORDER) if s in states)
    active = [row.progress for row in rows if row.progress.state in ("running", "waiting")]
    seconds = [progress.seconds_left for progress in active]
    running = states.count("running")
    if not running or None in seconds:
        return f"{counted(len(rows), 'run')}: {counts}"
    left = max(sum(seconds) / running, max(seconds))
    return f"{counted(len(rows), 'run')}: {counts}; about {duration(left)} left"


def table(rows: Sequence[Row], width: int, height: int) -> list[str]:
    """As many rows as fit, the running ones first, under a heading and above the summary."""
    ordered = sorted(rows, key=lambda row: _ORDER.index(row.progress.state))
    room = max(1, height - 3)
    lines = [HEADING, *(line_of(row) for row in ordered[:room])]
    if len(ordered) > room:
        lines.append(f"... and {len(ordered) - room} more")
    return [line[: width - 1] for line in (*lines, summary(rows))]


class Display:
    """Shows rows on a stream, which may break: a sweep goes on without its table."""

    def __init__(self, stream: TextIO | None):
        self._stream = stream
        self._is_terminal = False
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._is_terminal = stream.isatty()
        self._lines_drawn = 0
        self._states: dict[Experiment, str] = {}
        self._reported = time.monotonic()

    def show(self, rows: Sequence[Row]) -> None:
        """Redraws the table, or prints what has changed, and every five minutes what runs."""
        if self._is_terminal:
            width, height = shutil.get_terminal_size()
            lines = table(rows, width, height - 1)
            back = f"\x1b[{self._lines_drawn}F\x1b[J" if self._lines_drawn else ""
            self._lines_drawn = len(lines)
            self._write(back + "\n".join(lines))
            return
        is_time = time.monotonic() - self._reported >= _SECONDS_BETWEEN_REPORTS
        lines = []
        for row in rows:
            path, state = row.experiment.run_dir, row.progress.state
            is_news = self._states.get(path, "waiting") != state and state != "waiting"
            self._states[path] = state
            if is_news or (is_time and state == "running"):
                lines.append(line_of(row))
        if is_time:
            self._reported = time.monotonic()
            lines.append(summary(rows))
        if lines:
            self._write("\n".join(lines))

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        self._lines_drawn = 0
        self._write(text)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError, AttributeError):
            self._stream = None
