"""A fixed colour for each embedding index, so that grids of codes can be compared by eye."""

from __future__ import annotations

import functools

import numpy as np

_NUM_DISTINCT = 1024


def colours_of_codes(codes: np.ndarray) -> np.ndarray:
    """Colours of embedding indices [...] as far apart to the eye as possible, RGB, uint8 [..., 3].

    An index (at least 0) looks the same in every figure of every run. Colours repeat after 1,024.
    """
    codes = np.asarray(codes) % _NUM_DISTINCT
    return _palette(int(codes.max(initial=0)) + 1)[codes]


@functools.cache
def _palette(count: int) -> np.ndarray:
    """Each colour is the one farthest, in the Oklab space, from all before it; uint8 [count, 3]."""
    levels = np.linspace(0, 255, 16).round()
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    coordinates = _oklab(candidates / 255.0)
    readable = (coordinates[:, 0] > 0.3) & (coordinates[:, 0] < 0.93)
    candidates, coordinates = candidates[readable], coordinates[readable]
    chosen = [int(np.abs(candidates - (17, 102, 204)).sum(-1).argmin())]
    distance = np.full(len(candidates), np.inf)
    while len(chosen) < count:
        step = ((coordinates - coordinates[chosen[-1]]) ** 2).sum(-1)
        distance = np.minimum(distance, step)
        chosen.append(int(distance.argmax()))
    return candidates[chosen].astype(np.uint8)


def _oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] -> Oklab (Ottosson, 2020), where distances are close to what the eye sees."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.cbrt(cones) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )
