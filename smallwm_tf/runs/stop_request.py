"""SIGTERM, SIGINT and SIGHUP: the first one asks for an orderly end, a second one ends at once."""

import os
import signal
from types import FrameType


class Stopped(Exception):
    """The run was asked to stop, and everything that can be kept is on disk."""


class StopRequest:
    """Notes the first of these signals while it is open; training looks at it between steps.

    Used as `with StopRequest() as stop: ...; stop.check()`. A second signal ends the process with
    the exit code that shells give it, 128 plus the signal's number; SIGHUP is no second one, since
    a terminal that closes sends several. Where it was ignored before (`nohup`), it still is.

    Attributes:
      signal_name: "SIGTERM", "SIGINT" or "SIGHUP" once there was one, else None.
    """

    def __init__(self):
        self.signal_name: str | None = None
        self._former: dict[int, object] = {}

    def check(self) -> None:
        """Raises `Stopped` if there was a signal."""
        if self.signal_name:
            raise Stopped(self.signal_name)

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.signal_name:
            self.signal_name = signal.Signals(number).name
        elif number != signal.SIGHUP:
            os._exit(128 + number)
