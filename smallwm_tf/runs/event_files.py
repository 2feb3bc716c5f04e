"""What TensorBoard's files hold, to compare it with the record in `metrics.jsonl`.

A file is a row of records: length (8 bytes), its checksum (4), the content, its checksum (4).
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from smallwm_tf.runs import RunError
from smallwm_tf.runs.plain_files import open_plain

Scalar = tuple[str, int, float]  # tag, step, value
_LONGEST_RECORD = 2**20  # bytes; a scalar takes about a hundred


def fingerprint(scalars: Iterable[Scalar]) -> tuple[int, int]:
    """Number and sum of hashes of scalars, in whatever order; equal only where they are.

    Values count as TensorBoard holds them, in float32. It holds in this process alone.
    """
    count = total = 0
    with np.errstate(over="ignore"):
        for tag, step, value in scalars:
            count += 1
            total += hash((tag, step, float(np.float32(value))))
    return count, total


def fingerprint_of_files(directory: Path) -> tuple[int, int] | None:
    """The fingerprint of all files of a directory; None if one is damaged, (0, 0) without files."""
    if not directory.is_dir():
        return 0, 0
    try:
        return fingerprint(
            scalar for file in sorted(directory.iterdir()) for scalar in _scalars(file)
        )
    except (ValueError, TypeError, struct.error, RunError):
        return None


def _scalars(path: Path) -> Iterator[Scalar]:
    """The scalars of one file.

    Raises:
        ValueError, TypeError, struct.error: It is damaged or holds something else.
    """
    import tensorflow as tf  # not above: reports read metrics without it

    with open_plain(path) as file:
        while start := file.read(12):
            (length,) = struct.unpack("<Q4x", start)
            if length > _LONGEST_RECORD:
                raise ValueError(f"{path}: a record of {length} bytes")
            content = file.read(length + 4)
            if len(content) < length + 4:
                raise ValueError(f"{path}: ends within a record")
            try:
                event = tf.compat.v1.Event.FromString(content[:length])
            except Exception as error:  # protobuf's DecodeError is no ValueError
                raise ValueError(f"{path}: holds no event") from error
            for value in event.summary.value:
                if value.tensor.tensor_shape.dim:  # one byte may stand for gigabytes
                    raise ValueError(f"{path}: holds more than scalars")
                yield value.tag, event.step, float(tf.make_ndarray(value.tensor))
