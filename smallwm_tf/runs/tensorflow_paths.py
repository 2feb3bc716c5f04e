"""Paths for TensorFlow, which takes some characters of the files that it reads for patterns."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PATTERN_CHARACTERS = frozenset("*?[]\\")


def is_pattern(path: Path | str) -> bool:
    """Whether TensorFlow would look for other files than those at this path."""
    return not _PATTERN_CHARACTERS.isdisjoint(str(path))


@contextlib.contextmanager
def taken_literally(directory: Path) -> Iterator[str]:
    """A name of a directory that TensorFlow takes as it is, as long as the block runs."""
    if not is_pattern(directory):
        yield str(directory)
        return
    with tempfile.TemporaryDirectory(prefix="smallwm_tf-") as folder:
        link = Path(folder, "directory")
        link.symlink_to(directory.absolute(), target_is_directory=True)
        yield str(link)
