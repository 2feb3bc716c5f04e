"""What TensorBoard's files hold, to compare it with what they should.

A file is a row of records: length (8 bytes), its checksum (4), the content, its checksum (4).
"""

import math
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from smallwm_tf.runs import RunError
from smallwm_tf.runs.plain_files import open_plain

Entry = tuple[str, int, float | bytes]  # tag, step, value; of pictures and texts their bytes
_LONGEST_RECORD = 2**26  # bytes; a scalar takes about a hundred, a film some 100,000
_MOST_PARTS = 8  # of a tensor; a picture has three


def fingerprint(entries: Iterable[Entry]) -> tuple[int, int]:
    """Number and sum of hashes of entries, in whatever order; equal only where they are.

    Numbers count as TensorBoard holds them, in float32. It holds in this process alone.
    """
    count = total = 0
    with np.errstate(over="ignore"):
        for tag, step, value in entries:
            count += 1
            total += hash(
                (tag, step, value if isinstance(value, bytes) else float(np.float32(value)))
            )
    return count, total


def fingerprint_of_files(directory: Path) -> tuple[int, int] | None:
    """The fingerprint of all files of a directory; None if one is damaged, (0, 0) without files."""
    if not directory.is_dir():
        return 0, 0
    try:
        return fingerprint(
            entry for file in sorted(directory.iterdir()) for entry in _entries(file)
        )
    except (ValueError, TypeError, struct.error, RunError):
        return None


def _entries(path: Path) -> Iterator[Entry]:
    """The entries of one file.

    Raises:
        ValueError, TypeError, struct.error: It is damaged or holds something else.
    """
    import tensorflow as tf  # not above: reports read metrics without it

    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        while start := file.read(12):
            (length,) = struct.unpack("<Q4x", start)
            if length > _LONGEST_RECORD:
                raise ValueError(f"{path}: a record of {length} bytes")
            if length + 4 > size - file.tell():  # looked at first: reading would reserve room
                raise ValueError(f"{path}: ends within a record")
            content = file.read(length + 4)
            try:
                event = tf.compat.v1.Event.FromString(content[:length])
            except Exception as error:  # protobuf's DecodeError is no ValueError
                raise ValueError(f"{path}: holds no event") from error
            for value in event.summary.value:
                yield value.tag, event.step, _value(value.tensor)


def _value(tensor) -> float | bytes:
    """A number, or the bytes of a text or a picture."""
    import tensorflow as tf

    if not 0 <= math.prod(dim.size for dim in tensor.tensor_shape.dim) <= _MOST_PARTS:
        raise ValueError("a tensor of more parts than there are: one byte may stand for gigabytes")
    array = tf.make_ndarray(tensor)
    if array.dtype.kind in "OS":
        return b"\0".join(bytes(part) for part in array.ravel())
    return float(array.item()) if array.size else 0.0  # hyperparameters have none
