"""Files that are complete or absent: written under another name, flushed, then renamed."""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from smallwm_tf.experiment.messages import one_line, show
from smallwm_tf.runs import RunError
from smallwm_tf.runs.lock import check_held
from smallwm_tf.runs.plain_files import (
    create_plain,
    is_plain_directory,
    open_plain,
    read_plain,
)

_MOST_JSON_BYTES = 4 * 2**20
_DEEPEST = 32  # levels of nesting
_LONGEST_NAME = 40  # characters of a file's name that its temporary name repeats
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, then renames it; on failure nothing stays.

    What processes that were killed in here left of the same file is removed.

    Raises:
        OSError: The disk is full or read-only; it names `path`, where an older file is untouched.
        LockedError: The run directory around it is no longer this process's.
    """
    temporary = temporary_name(path)
    check_held(path)
    try:
        with create_plain(temporary) as file:
            _mark_as_living(file.fileno())
            write(file)
            file.flush()
            os.fsync(file.fileno())
            check_held(path)
            os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    remove_abandoned(path)
    sync_directory(path.parent)


def temporary_name(path: Path, suffix: str = "") -> Path:
    """What a file or directory is called, beside its place, until it is complete."""
    return path.with_name(f".{path.name[:_LONGEST_NAME]}.{os.getpid()}.part{suffix}")


def remove_abandoned(path: Path) -> None:
    """Removes what processes that are gone left under a `temporary_name` of `path`.

    Those of living ones are locked, on other machines too. Where the file system has no locks,
    all stay.
    """
    name = re.compile(rf"\.{re.escape(path.name[:_LONGEST_NAME])}\.[0-9]+\.part(\.[a-z0-9]+)?")
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for place in [Path(entry.path) for entry in entries if name.fullmatch(entry.name)]:
            with contextlib.suppress(OSError), living(place):
                _remove(place)


@contextlib.contextmanager
def living(place: Path):
    """Marks a temporary file or directory as in use, for `remove_abandoned` of other processes.

    Raises:
        OSError: It is a link, or in use already.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def remove_half_written(directory: Path) -> None:
    """Removes all that killed processes left in a directory of which this is the only writer."""
    for path in directory.iterdir():
        if re.fullmatch(r"\..*\.[0-9]+\.part(\.[a-z0-9]+)?", path.name):
            _remove(path)


def _mark_as_living(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # without locks nothing is ever taken for abandoned
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove(path: Path) -> None:
    if is_plain_directory(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def reason_and_remedy(error: Exception, place: Path | str) -> tuple[str, str]:
    """Why a file could not be written, and what to do about it; the remedy may be empty.

    Args:
        error: Of the operating system, or of TensorFlow, which hides the former's in a long text.
        place: The file or directory; the room that is left there is told.
    """
    number, text = getattr(error, "errno", None), " ".join(str(error).split())
    for known in (*_NO_ROOM, *_READ_ONLY):
        if number is None and os.strerror(known) in text:
            number = known
    reason = os.strerror(number) if number else text[:200]
    if number in _READ_ONLY:
        return reason, "make the directory writable and run the same command again"
    if number not in _NO_ROOM:
        return reason, ""
    with contextlib.suppress(OSError):
        place = Path(place)
        existing = next(path for path in (place, *place.parents) if path.exists())
        reason += f", {shutil.disk_usage(existing).free} bytes are free"
    return reason, "make room and run the same command again"


def cannot_write(shown: str, error: Exception, place: Path | str) -> RunError:
    """An error to raise for a place that cannot be written, which the user knows as `shown`."""
    reason, remedy = reason_and_remedy(error, place)
    return RunError(f"{shown}: cannot be written ({reason}){'; ' if remedy else ''}{remedy}")


def sync_directory(directory: Path) -> None:
    """Makes renames inside a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some network file systems cannot
        os.fsync(descriptor)
    os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON atomically; NumPy scalars become numbers, NaN is refused."""
    text = json.dumps(content, indent=1, allow_nan=False, default=plain) + "\n"
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        RunError: The file is missing, damaged, far too large, or holds what JSON does not have.
    """
    try:
        content = load_json(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({one_line(error)})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: holds no JSON object")
    return content


def load_json(path: Path, most_bytes: int = _MOST_JSON_BYTES) -> Any:
    """Reads any JSON value.

    Raises:
        RunError: As `read_json`.
        OSError: There is no file, or it cannot be read.
    """
    text = read_plain(path, most_bytes)
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({one_line(error)})") from error


def parse_json(text: bytes) -> Any:
    """A JSON value whose numbers are finite and that is not nested without end.

    Raises:
        ValueError, RecursionError: It is none; the field is named if there is one.
    """
    content = json.loads(text)
    waiting = [("", 0, content)]
    while waiting:
        field, depth, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field[:100]}={value} is not finite")
        if not isinstance(value, dict | list):
            continue
        if depth == _DEEPEST:
            raise ValueError(f"{field[:100]}: more than {_DEEPEST} levels of nesting")
        for name, entry in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(entry, float | dict | list):
                part = f".{show(name)[1:-1]}" if isinstance(name, str) else f"[{name}]"
                waiting.append((f"{field}{part}".lstrip("."), depth + 1, entry))
    return content


def plain(value: Any) -> Any:
    """A NumPy scalar as a Python number, for `json.dumps(default=...)`."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


def describe_file(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, to tell later whether it is still the same."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def what_differs(path: Path, described: Mapping[str, Any]) -> str | None:
    """What is wrong with a file that `describe_file` once described; None if nothing is."""
    if path.is_symlink() or not path.is_file():
        return "is missing"
    if (size := path.stat().st_size) != described.get("bytes"):
        return f"has {size} bytes, not {show(described.get('bytes'))}"
    if sha256_of(path) != described.get("sha256"):
        return "does not match its SHA-256"
    return None


def sha256_of(path: Path) -> str:
    """SHA-256 of a plain file's bytes, in hexadecimal."""
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
