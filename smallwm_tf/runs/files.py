"""Files that are complete or absent: written under another name, flushed, then renamed."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from smallwm_tf.runs import RunError

_MOST_JSON_BYTES = 64 * 2**20


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, then renames it; on failure nothing stays.

    Raises:
        OSError: The disk is full or read-only; an older file at `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Makes renames inside a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems cannot
        pass
    finally:
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
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RunError(f"{path}: cannot be read ({reason})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: holds no JSON object")
    return content


def plain(value: Any) -> Any:
    """A NumPy scalar as a Python number, for `json.dumps(default=...)`."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
