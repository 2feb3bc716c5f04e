"""SIGTERM, SIGINT and SIGHUP: the first one asks for an orderly end, a second one ends at once."""

import contextlib
import os
import signal
import socket
import threading
from types import FrameType

from smallwm_tf.runs.progress import tell

_LONGEST_WAIT = 1.0  # seconds, for the thread that notes signals
_FAREWELL = 0.1  # seconds, for the last line


class Stopped(Exception):
    """The run was asked to stop, and everything that can be kept is on disk."""


class StopRequest:
    """Notes the first of these signals while it is open; training looks at it between steps.

    Used as `with StopRequest() as stop: ...; stop.check()`. A second signal ends the process with
    the exit code that shells give it, 128 plus the signal's number; SIGHUP is no second one, since
    a terminal that closes sends several. Where it was ignored before (`nohup`), it still is.

    Signals are answered at once, by a thread: Python itself would wait until TensorFlow returns
    from a graph, which may take minutes.

    Args:
      answer: what happens now, for whoever has pressed Ctrl-C.

    Attributes:
      signal_name: "SIGTERM", "SIGINT" or "SIGHUP" once there was one, else None.
    """

    def __init__(self, answer: str = "saving after this update"):
        self.signal_name: str | None = None
        self._answer = answer
        self._former: dict[int, object] = {}

    def check(self) -> None:
        """Raises `Stopped` if there was a signal."""
        if self.signal_name:
            raise Stopped(self.signal_name)

    def __enter__(self) -> "StopRequest":
        self._noted = threading.Semaphore(0)
        self._incoming, self._outgoing = socket.socketpair()
        self._outgoing.setblocking(False)
        # Python's C code writes the number of each signal there, whatever runs meanwhile.
        self._former_descriptor = signal.set_wakeup_fd(
            self._outgoing.fileno(), warn_on_full_buffer=False
        )
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._former = {number: signal.getsignal(number) for number in numbers}
        if self._former[signal.SIGHUP] == signal.SIG_IGN:
            del self._former[signal.SIGHUP]
        for number in self._former:
            signal.signal(number, self._wait_until_noted)
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)
        signal.set_wakeup_fd(self._former_descriptor)
        self._outgoing.close()  # ends the thread
        self._thread.join(_LONGEST_WAIT)
        self._incoming.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while numbers := self._incoming.recv(64):
                for number in numbers:
                    if number in self._former:
                        self._note(number)
                        self._noted.release()

    def _note(self, number: int) -> None:
        name = signal.Signals(number).name
        shown = "Ctrl-C" if number == signal.SIGINT else name
        if not self.signal_name:
            self.signal_name = name
            _tell(f"{shown}: {self._answer}; again: at once")
        elif number != signal.SIGHUP:
            _tell(f"{shown} again: ended at once").join(_FAREWELL)
            os._exit(128 + number)

    def _wait_until_noted(self, number: int, frame: FrameType | None) -> None:
        """What Python calls between two of its own steps, when the thread has long seen it."""
        self._noted.acquire(timeout=_LONGEST_WAIT)


def _tell(text: str) -> threading.Thread:
    """Says something by a thread of its own: a terminal that stands still delays no signal."""
    thread = threading.Thread(target=tell, args=(text,), daemon=True)
    thread.start()
    return thread
