"""Where every random number comes from: one seed, a path of names and counters.

A seed pair is a pure function of (run seed, path), so nothing about randomness has to be stored
beyond the counters that a checkpoint holds anyway. Inside a graph, TensorFlow's
``stateless_fold_in`` goes on counting.
"""

import hashlib

import numpy as np


def seed_pair(seed: int, *path: int | str) -> np.ndarray:
    """Two int32 for TensorFlow's stateless random ops, e.g. ``seed_pair(0, "ppo", 3)``."""
    digest = hashlib.sha256(repr((seed, *path)).encode()).digest()
    return np.frombuffer(digest[:8], dtype=np.int32).copy()


def generator(seed: int, *path: int | str) -> np.random.Generator:
    """A NumPy generator for the same kind of path."""
    digest = hashlib.sha256(repr((seed, *path)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
