"""What others wrote is data: nothing in a run or an export is reached through a link.

A link in a run directory would lead commands to read, empty or remove files of somebody else, a
pipe would let them wait for ever. Both are refused, here alone, before anything is opened. The
directory that a person names may itself be, or lie behind, a link.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from smallwm_tf.runs import RunError

MOST_BYTES = 16 * 2**30  # of any file; weights, moments and metrics of long runs stay below
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def refuse_links(root: Path) -> None:
    """Refuses a directory in which, at any depth, lies anything but files and directories.

    Raises:
        RunError: Names what it is.
        OSError: A directory cannot be read.
    """
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another process has removed it
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(Path(entry.path))
                    else:
                        _refuse(Path(entry.path), status, None)


def open_plain(path: Path, most_bytes: int = MOST_BYTES) -> BinaryIO:
    """Opens a file to read.

    Raises:
        RunError: It is a link, no file, or larger than `most_bytes`; it was not opened.
        OSError: There is none, or it cannot be read.
    """
    _refuse(path, os.lstat(path), most_bytes)  # opening a device may already do something
    file = os.fdopen(os.open(path, os.O_RDONLY | _OPEN), "rb")
    with _closed_on_error(file):
        _refuse(path, os.fstat(file.fileno()), most_bytes)
    return file


def read_plain(path: Path, most_bytes: int) -> bytes:
    """All of a file; raises as `open_plain`."""
    with open_plain(path, most_bytes) as file:
        # Not read(most_bytes), which would first make room for as much.
        return file.read(os.fstat(file.fileno()).st_size)


def open_to_append(path: Path) -> BinaryIO:
    """Opens a file to read and append to, made if it is missing; never through a second name.

    Raises:
        RunError: It is a link, of either kind, or no file; it was not changed.
        OSError: It cannot be written.
    """
    if os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):
            _refuse_second_name(path, os.lstat(path))
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _OPEN, 0o666)
    file = os.fdopen(descriptor, "a+b")
    with _closed_on_error(file):
        _refuse_second_name(path, os.fstat(file.fileno()))
    return file


def create_plain(path: Path) -> BinaryIO:
    """Makes a file that was not there, to write; what a killed process left there is removed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN
    try:
        return os.fdopen(os.open(path, flags, 0o666), "wb")
    except FileExistsError:
        path.unlink()
        return os.fdopen(os.open(path, flags, 0o666), "wb")


def is_plain_directory(path: Path) -> bool:
    """Whether a directory, and no link to one, lies at a path."""
    return path.is_dir() and not path.is_symlink()


@contextlib.contextmanager
def _closed_on_error(file: BinaryIO) -> Iterator[None]:
    try:
        yield
    except BaseException:
        file.close()
        raise


def _refuse_second_name(path: Path, status: os.stat_result) -> None:
    _refuse(path, status, None)
    if status.st_nlink > 1:
        raise RunError(
            f"{path}: the file has a second name (a hard link), which would change with it; "
            "put a copy in its place"
        )


def _refuse(path: Path, status: os.stat_result, most_bytes: int | None) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise RunError(
            f"{path}: is a link, and nothing in a run or an export is reached through links; "
            "put what it leads to in its place"
        )
    if not stat.S_ISREG(status.st_mode):
        raise RunError(f"{path}: is no plain file; move it away")
    if most_bytes is not None and status.st_size > most_bytes:
        raise RunError(f"{path}: {status.st_size} bytes is too large, over {most_bytes}")
