"""Files that are complete or absent: written under another name, flushed, then renamed."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from smallwm_tf.experiment.messages import one_line
from smallwm_tf.runs import RunError

_MOST_JSON_BYTES = 64 * 2**20
_HALF_WRITTEN = ".part"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, then renames it; on failure nothing stays.

    Raises:
        OSError: The disk is full or read-only; it names `path`, where an older file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_HALF_WRITTEN}")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    sync_directory(path.parent)


def remove_half_written(directory: Path) -> None:
    """Removes what processes that were killed inside `write_atomically` left in a directory."""
    for path in directory.glob(f".*{_HALF_WRITTEN}"):
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
        RunError: The file is missing, damaged, or far too large.
    """
    try:
        if path.is_symlink() or path.stat().st_size > _MOST_JSON_BYTES:
            raise RunError(f"{path}: is a link, or larger than {_MOST_JSON_BYTES} bytes")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({one_line(error)})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: holds no JSON object")
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
        return f"has {size} bytes, not {described.get('bytes')}"
    if sha256_of(path) != described.get("sha256"):
        return "does not match its SHA-256"
    return None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
