"""One writer per run directory.

The kernel's file lock decides: it ends with its process, however that dies. What the file says
(process, host, start time) names the holder. Where the lock was made on another host, whose
kernel may not share locks with ours, the file's age decides: a living holder touches it.
"""

import contextlib
import fcntl
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from smallwm_tf.runs import RunError

_TOUCH_SECONDS = 20.0
_STALE_SECONDS = 120.0


class LockedError(RunError):
    """Another process writes to this run directory; the message names it."""


class Lock(contextlib.AbstractContextManager):
    """An exclusive lock, held from construction until `release` or the end of the process.

    Its `stale_holder` names who left a lock behind without releasing it; None if nobody did.
    """

    def __init__(self, path: Path) -> None:
        """Takes the lock at a path whose directory exists.

        Raises:
            LockedError: Another living process holds it.
        """
        self.path = path
        self._file = _open_locked(path)
        holder = _read(self._file)
        if holder and holder.get("host") != socket.gethostname() and _is_recent(path):
            self._file.close()
            raise _locked(path, holder)
        self.stale_holder = _name(holder) if holder else None
        mine = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "command": " ".join(sys.argv)[:500],
        }
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(mine) + "\n")
        self._file.flush()
        self._released = threading.Event()
        threading.Thread(target=self._touch, name="run lock", daemon=True).start()

    def release(self) -> None:
        """Removes the lock file; harmless when repeated."""
        if self._released.is_set():
            return
        self._released.set()
        with contextlib.suppress(OSError):
            self.path.unlink()
        self._file.close()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _touch(self) -> None:
        while not self._released.wait(_TOUCH_SECONDS):
            with contextlib.suppress(OSError, ValueError):
                os.utime(self._file.fileno())


def _open_locked(path: Path) -> TextIO:
    """Opens the file that is at `path` while its kernel lock is ours."""
    while True:
        # append mode: makes the file if it is missing and never empties that of another process
        file = open(path, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read(file)
            # On a file system without locks the age of the file has to do.
            if not isinstance(error, BlockingIOError) and not (holder and _is_recent(path)):
                return file
            file.close()
            raise _locked(path, holder) from error
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()  # its holder removed it between our two calls


def _read(file: TextIO) -> dict[str, object]:
    file.seek(0)
    try:
        content = json.loads(file.read(10_000))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_recent(path: Path) -> bool:
    """Whether the file was touched lately, by the clock of the disk it lies on."""
    probe = path.with_name(f".{path.name}.{os.getpid()}.clock")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime < _STALE_SECONDS
    except FileNotFoundError:
        return False
    finally:
        probe.unlink(missing_ok=True)


def _name(holder: dict[str, object]) -> str:
    pid, host, started = (str(holder.get(key, "?"))[:80] for key in ("pid", "host", "started"))
    return ascii(f"process {pid} on host {host} since {started}")[1:-1]


def _locked(path: Path, holder: dict[str, object]) -> LockedError:
    who = _name(holder) if holder else "another process"
    remedy = "wait for it or stop it, or name another --run_dir"
    if holder and holder.get("host") != socket.gethostname():
        remedy += f"; if that host is gone, try again in {_STALE_SECONDS / 60:.0f} minutes"
    return LockedError(f"run_dir={path.parent}: {who} is writing to it; {remedy}")
