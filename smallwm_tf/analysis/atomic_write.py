"""Writing a small file so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import os
import pathlib


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Writes under a temporary name beside `path`, flushes to disk, then renames.

    Raises:
      OSError: the directory is missing or not writable, or the disk is full; `path` is unchanged
        and the temporary file is gone.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
