"""SIGTERM and SIGINT: the first one asks for an orderly end, the second one ends at once."""

import os
import signal
from types import FrameType


class Stopped(Exception):
    """The run was asked to stop, and everything that can be kept is on disk."""


class StopRequest:
    """Notes the first SIGTERM or SIGINT while it is open; training looks at it between steps.

    Used as `with StopRequest() as stop: ...; stop.check()`. A second signal ends the process with
    the exit code that shells give it, 128 plus the signal's number.

    Attributes:
      signal_name: "SIGTERM" or "SIGINT" once there was one, else None.
    """

    def __init__(self):
        self.signal_name: str | None = None
        self._former: dict[int, object] = {}

    def check(self) -> None:
        """Raises `Stopped` if there was a signal."""
        if self.signal_name:
            raise Stopped(self.signal_name)

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name:
            os._exit(128 + number)
        self.signal_name = signal.Signals(number).name
