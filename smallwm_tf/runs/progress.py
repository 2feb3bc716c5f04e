"""Progress for a person: bars with rate and time left, or a line now and then without a terminal.

Output is never a reason to stop a run: a closed or broken stream is ignored.
"""

import contextlib
import os
import sys
import time
import weakref
from typing import Any

from tqdm import tqdm

from smallwm_tf.experiment.messages import printable

_SECONDS_BETWEEN_LINES = 30.0
_BROKEN: Any = weakref.WeakKeyDictionary()  # stream -> what went wrong first


def say(text: str) -> None:
    """Prints a line on stdout, above any bar; a closed stdout or foreign encoding is ignored."""
    stream = sys.stdout
    if stream is None:
        return
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = printable(text).encode(encoding, "replace").decode(encoding)
        with tqdm.external_write_mode(file=stream):
            stream.write(text + "\n")
            stream.flush()
    except (OSError, ValueError) as error:
        lead_nowhere(stream, error)


def failure_of(stream: Any) -> Exception | None:
    """What went wrong when something was printed on a stream; None if nothing did."""
    return _BROKEN.get(stream)


def lead_nowhere(stream: Any, error: Exception) -> None:
    """Lets a broken stream write to the null device: Python's own flush at exit must not fail."""
    with contextlib.suppress(TypeError):  # some replaced streams have no weak references
        _BROKEN.setdefault(stream, error)
    with (
        contextlib.suppress(OSError, ValueError, AttributeError),
        open(os.devnull, "w") as nowhere,
    ):
        os.dup2(nowhere.fileno(), stream.fileno())


def warn(text: str) -> None:
    """Prints a warning on stderr; a closed one is ignored."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"warning: {printable(text)}", file=sys.stderr, flush=True)


class Progress(contextlib.AbstractContextManager):
    """Counts work; a tqdm bar on a terminal, else tqdm's line every 30 seconds and at the end.

    Used as `with Progress(12800, "collect", "step") as progress: progress.update(16)`. Silent if
    there is nothing to do.

    Args:
        total: Amount of work; None if unknown.
        description: What is being done.
        unit: One piece of work, singular.
        initial: Work done before this session, when a phase is continued.
    """

    def __init__(
        self, total: int | None, description: str, unit: str = "step", initial: int = 0
    ) -> None:
        self.count = initial
        self._description = description
        self._meter: dict[str, Any] = {"total": total, "unit": unit, "initial": initial}
        self._values: dict[str, Any] = {}
        self._start = self._last_line = time.monotonic()
        self._bar = None
        self._is_silent = total == 0
        with contextlib.suppress(OSError, ValueError):
            if not self._is_silent and sys.stderr is not None and sys.stderr.isatty():
                shape = _shape(sys.stderr)
                self._bar = tqdm(desc=description, file=sys.stderr, **self._meter, **shape)

    def update(self, amount: int = 1, **values: Any) -> None:
        """Counts `amount` more and shows values such as loss=0.3 behind them."""
        self.count += amount
        self._values.update(values)
        if self._bar is not None:
            try:
                if values:
                    self._bar.set_postfix(self._values, refresh=False)
                self._bar.update(amount)
            except (OSError, ValueError):
                self._bar = None
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._print_line()

    def close(self) -> None:
        """Ends the bar, or prints the last line; harmless when repeated."""
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self._bar.close()
        else:
            self._print_line()
        self._is_silent = True

    def __exit__(self, *_: object) -> None:
        self.close()

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        if not self._is_silent:
            say(self.line())

    def line(self) -> str:
        """The state as text: "collect: 25% 3200/12800 [00:26<01:20, 120.00step/s, loss=0.3]"."""
        seconds = time.monotonic() - self._start
        values = (
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self._values.items()
        )
        told = {"prefix": self._description, "postfix": ", ".join(values), **self._meter}
        text = tqdm.format_meter(self.count, elapsed=seconds, ncols=0, **told)
        return " ".join(text.split())


def _shape(stream: Any) -> dict[str, Any]:
    """tqdm's size arguments; some terminals say that they are 0 wide, and tqdm believes it."""
    with contextlib.suppress(OSError, ValueError):
        if min(os.get_terminal_size(stream.fileno())) > 0:
            return {"dynamic_ncols": True}
    return {"ncols": 80, "nrows": 24}
