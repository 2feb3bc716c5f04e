"""One writer per run directory.

The kernel's file lock decides: it ends with its process, however that dies. What the file says
(process, host, start time) names the holder. Where the lock was made on another host, whose
kernel may not share locks with ours, the file's age decides: a living holder touches it. So it does
where the file system has no locks, unless the holder was a process of this machine that is gone.

A directory may be removed or moved under its holder, and another run be started in its place. So
before each save and removal `check_held` asks whether the lock file is still the holder's own.
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
from typing import BinaryIO

from smallwm_tf.runs import RunError
from smallwm_tf.runs.plain_files import create_plain, open_to_append

_TOUCH_SECONDS = 20.0
_STALE_SECONDS = 120.0
_MOST_BYTES = 10_000
_HELD: set["Lock"] = set()  # of this process


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
        if holder and holder.get("host") != socket.gethostname() and _is_recent(path, self._file):
            self._file.close()
            raise _locked(path, holder)
        self.stale_holder = _name(holder) if holder else None
        mine = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "command": " ".join(sys.argv)[:500],
            "processes": _process_space(),
        }
        self._file.truncate(0)
        self._file.write(json.dumps(mine).encode() + b"\n")
        self._file.flush()
        self._released = threading.Event()
        _HELD.add(self)
        threading.Thread(target=self._touch, name="run lock", daemon=True).start()

    def release(self) -> None:
        """Removes the lock file, if it still is ours; harmless when repeated."""
        if self._released.is_set():
            return
        self._released.set()
        _HELD.discard(self)
        if self.is_held():
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._file.close()

    def is_held(self) -> bool:
        """Whether the file at the lock's path is the one that we locked."""
        return _is_at(self._file, self.path)

    def __exit__(self, *_: object) -> None:
        self.release()

    def _touch(self) -> None:
        while not self._released.wait(_TOUCH_SECONDS):
            with contextlib.suppress(OSError, ValueError):
                os.utime(self._file.fileno())


def check_held(path: Path) -> None:
    """Stops a process whose run directory is no longer its own, before it writes or removes there.

    Raises:
        LockedError: This process locked the directory around `path`, and the lock file is gone or
            another one.
    """
    place = Path(os.path.abspath(path))
    for lock in list(_HELD):
        directory = Path(os.path.abspath(lock.path)).parent
        if directory in (place, *place.parents) and not lock.is_held():
            raise LockedError(
                f"run_dir={lock.path.parent}: was removed, moved or taken over while this process "
                "was writing to it, which stops here and leaves it alone; start again where the "
                "run now lies"
            )


def _open_locked(path: Path) -> BinaryIO:
    """Opens the file that is at `path` while its kernel lock is ours."""
    while True:
        file = open_to_append(path)  # which never empties that of another process
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read(file)
            # On a file system without locks holder and age of the file have to do.
            has_locks = isinstance(error, BlockingIOError)
            if not has_locks and not (holder and not _is_gone(holder) and _is_recent(path, file)):
                return file
            file.close()
            raise _locked(path, holder) from error
        if _is_at(file, path):
            return file
        file.close()  # its holder removed it between our two calls


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except OSError:
        return False


def _read(file: BinaryIO) -> dict[str, object]:
    file.seek(0)
    try:
        content = json.loads(file.read(_MOST_BYTES))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_recent(path: Path, file: BinaryIO) -> bool:
    """Whether the file was touched lately, by the clock of the disk it lies on.

    One that is dated far ahead gets today's date, and counts as recent until that is old: a living
    holder dates it ahead again.
    """
    probe = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with create_plain(probe):
            age = probe.stat().st_mtime - path.stat().st_mtime
        if age < -_STALE_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(file.fileno())
        return age < _STALE_SECONDS
    except FileNotFoundError:
        return False
    finally:
        probe.unlink(missing_ok=True)


def _is_gone(holder: dict[str, object]) -> bool:
    """Whether the holder was a process of this very machine and container, and is no more."""
    pid = holder.get("pid")
    is_ours = holder.get("host") == socket.gethostname()
    if not is_ours or type(pid) is not int or holder.get("processes") != _process_space():
        return False
    try:
        os.kill(max(pid, 1), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False


def _process_space() -> str:
    """What tells apart machines, starts of them, and containers that share a host name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _name(holder: dict[str, object]) -> str:
    pid, host, started = (str(holder.get(key, "?"))[:80] for key in ("pid", "host", "started"))
    return ascii(f"process {pid} on host {host} since {started}")[1:-1]


def _locked(path: Path, holder: dict[str, object]) -> LockedError:
    who = _name(holder) if holder else "another process"
    remedy = "wait for it or stop it, or name another --run_dir"
    if holder and holder.get("host") != socket.gethostname():
        remedy += f"; if that host is gone, try again in {_STALE_SECONDS / 60:.0f} minutes"
    return LockedError(f"run_dir={path.parent}: {who} is writing to it; {remedy}")
