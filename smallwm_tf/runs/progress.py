"""Progress for a person: bars with rate and time left, or a line now and then without a terminal.

Output is never a reason to stop a run: a closed or broken stream is ignored.
"""

import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

from smallwm_tf.experiment.messages import printable
from smallwm_tf.experiment.numbers import short

_SECONDS_BETWEEN_LINES = 30.0
_BROKEN: Any = weakref.WeakKeyDictionary()  # stream -> what went wrong first
_of_the_run: Callable[[float | None], str] | None = None


def say(text: str) -> None:
    """Prints a line on stdout, above any bar; a closed stdout or foreign encoding is ignored."""
    _write_line(sys.stdout, text)


def tell(text: str) -> None:
    """Prints a line on stderr, above any bar; a closed one is ignored."""
    _write_line(sys.stderr, text)


def warn(text: str) -> None:
    """Prints a warning on stderr; a closed one is ignored."""
    tell(f"warning: {text}")


def _write_line(stream: Any, text: str) -> None:
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


class Progress(contextlib.AbstractContextManager):
    """Counts work; bars on a terminal, else a line every 30 seconds and at the end.

    Used as `with Progress(12800, "collect", "step") as progress: progress.update(16)`. Silent if
    there is nothing to do. Time is seen to pass also where nothing is counted for long, as while
    TensorFlow compiles. Where the whole run is stands beside it, if `beside` was told.

    Args:
        total: Amount of work; None if unknown.
        description: What is being done.
        unit: One piece of work, singular.
        initial: Work done before this session, when a phase is continued.
        first: What is done before the first piece is counted, such as "compiling".
        in_logs: Whether there are lines where there is no terminal.
    """

    def __init__(
        self,
        total: int | None,
        description: str,
        unit: str = "step",
        initial: int = 0,
        first: str = "",
        in_logs: bool = True,
    ) -> None:
        self.count = initial
        self._description, self._doing, self._is_first = description, first, bool(first)
        self._meter: dict[str, Any] = {"total": total, "unit": unit, "initial": initial}
        self._values: dict[str, str] = {}
        self._start = self._last_line = time.monotonic()
        self._last_count: int | None = None  # of the last line
        self._bar = self._run_bar = None
        self._is_silent = total is not None and initial >= total
        self._lock, self._is_over = threading.RLock(), threading.Event()
        if not self._is_silent:
            self._open_bars()
            self._is_silent = self._bar is None and not in_logs
            threading.Thread(target=self._let_time_pass, name="progress", daemon=True).start()

    def update(self, amount: int = 1, **values: Any) -> None:
        """Counts `amount` more and shows values such as loss=0.3 behind them."""
        with self._lock:
            self.count += amount
            self._values |= {name: _shown(value) for name, value in values.items()}
            if self._is_first and amount:
                self.doing("")
            if self._bar is not None:
                with self._without_broken_bars():
                    if values:
                        self._bar.set_postfix(self._values, refresh=False)
                    self._bar.update(amount)
            self._show_now_and_then()

    def doing(self, what: str) -> None:
        """Names what is done besides, such as "playing the real game"; "" for the work itself."""
        with self._lock:
            self._doing, self._is_first = what, False
            if self._bar is not None:
                with self._without_broken_bars():
                    self._bar.set_description(self._title(), refresh=bool(what))

    def close(self) -> None:
        """Ends the bars, or prints the last line; harmless when repeated."""
        self._is_over.set()
        with self._lock:
            self._doing = ""
            if self._bar is not None:
                with self._without_broken_bars():
                    self._run_bar.close()
                    self._bar.set_description(self._description, refresh=False)
                    self._bar.close()
            elif self._last_count != self.count:
                self._print_line()
            self._is_silent = True

    def __exit__(self, *_: object) -> None:
        self.close()

    def seconds_left(self) -> float | None:
        """What this work will still take, by its own pace; None if that is not known yet."""
        total, initial = self._meter["total"], self._meter["initial"]
        done = self.count - initial
        if not total or done < 0.02 * (total - initial):
            return None
        return (time.monotonic() - self._start) / done * max(0, total - self.count)

    def line(self) -> str:
        """The state as text: "collect: 25% 3200/12800 [00:26<01:20, 120.00step/s, loss=0.3]"."""
        seconds = time.monotonic() - self._start
        values = ", ".join(f"{name}={value}" for name, value in self._values.items())
        told = {"prefix": self._title(), "postfix": values, **self._meter}
        text = tqdm.format_meter(self.count, elapsed=seconds, ncols=0, **told)
        return " ".join(text.split())

    def _title(self) -> str:
        return f"{self._description}, {self._doing}" if self._doing else self._description

    def _open_bars(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if sys.stderr is None or not sys.stderr.isatty():
                return
            given = {"file": sys.stderr, **_shape(sys.stderr)}
            self._bar = tqdm(desc=self._title(), position=0, leave=True, **self._meter, **given)
            # Below the other one, which stays when it is closed.
            self._run_bar = tqdm(bar_format="{desc}", position=1, leave=False, **given)
            self._show_run()

    def _let_time_pass(self) -> None:
        while not self._is_over.wait(1.0):
            with self._lock:
                if self._is_over.is_set():
                    return
                if self._bar is not None:
                    with self._without_broken_bars():
                        self._bar.refresh()
                        self._show_run()
                self._show_now_and_then()

    def _show_now_and_then(self) -> None:
        due = time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES
        if self._bar is None and due and not self._is_silent:
            self._print_line()
            if text := _whereabouts(self):
                say(text)

    def _show_run(self) -> None:
        self._run_bar.set_description_str(_whereabouts(self))

    def _print_line(self) -> None:
        self._last_line, self._last_count = time.monotonic(), self.count
        if not self._is_silent:
            say(self.line())

    @contextlib.contextmanager
    def _without_broken_bars(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):
            self._bar = self._run_bar = None


def beside(whereabouts: Callable[[float | None], str] | None) -> None:
    """Says how every `Progress` learns where the whole run is; None: there is no run.

    Args:
        whereabouts: From the seconds that the work of the moment will still take, if these are
            known, to one line.
    """
    global _of_the_run
    _of_the_run = whereabouts


def _whereabouts(progress: Progress) -> str:
    return _of_the_run(progress.seconds_left()) if _of_the_run else ""


def _shown(value: Any) -> str:
    return short(value) if isinstance(value, float) else str(value)


def _shape(stream: Any) -> dict[str, Any]:
    """tqdm's size arguments; some terminals say that they are 0 wide, and tqdm believes it."""
    with contextlib.suppress(OSError, ValueError):
        if min(os.get_terminal_size(stream.fileno())) > 0:
            return {"dynamic_ncols": True}
    return {"ncols": 80, "nrows": 24}
