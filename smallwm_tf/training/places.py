"""Places inside a phase: frozen dataclasses, and how a checkpoint holds them.

The type of a field says where its value goes: ``np.ndarray`` and ``Arrays`` into the checkpoint's
arrays, a ``Chunk`` (a file of real steps) among its files, all else into its JSON.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from smallwm_tf.experiment.messages import show
from smallwm_tf.runs.replay_files import Chunk

Arrays = tuple[np.ndarray, ...]
_MOST = 2**31 - 1  # of a counter: more updates than any run makes


def pack(place: Any) -> tuple[dict[str, Any], dict[str, np.ndarray], list[Chunk]]:
    """A place as JSON values, arrays by name, and files."""
    values: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    chunks: list[Chunk] = []
    for field in fields(place):
        name, value = field.name, getattr(place, field.name)
        if field.type is np.ndarray:
            arrays[name] = value
        elif field.type == Arrays:
            values[name] = len(value)
            arrays |= {f"{name}_{number:03d}": array for number, array in enumerate(value)}
        elif field.type is Chunk:
            values[name] = value.name
            chunks.append(value)
        else:
            values[name] = value
    return values, arrays, chunks


def unpack(
    place_type: type,
    values: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    chunks: Mapping[str, Chunk],
) -> Any:
    """The place that was packed.

    Raises:
      KeyError, TypeError, ValueError: it was another type of place, or a count is none.
    """
    found: dict[str, Any] = {}
    for field in fields(place_type):
        name = field.name
        if field.type is np.ndarray:
            found[name] = arrays[name]
        elif field.type == Arrays:
            found[name] = tuple(arrays[f"{name}_{number:03d}"] for number in range(values[name]))
        elif field.type is Chunk:
            found[name] = chunks[values[name]]
        elif isinstance(values[name], int) and not 0 <= values[name] <= _MOST:
            raise ValueError(f"{name} is {show(values[name])}, no count")
        elif isinstance(values[name], field.type):
            found[name] = values[name]
        else:
            raise TypeError(f"{name} is {show(values[name])}, not {field.type}")
    return place_type(**found)
