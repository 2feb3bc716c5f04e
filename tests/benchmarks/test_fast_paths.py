"""The fast paths are fast: ratios to the plain paths within one run, never absolute times."""

import pytest

from benchmarks.fast_paths import speed_ups

# Measured on two cores of an AMD EPYC: see docs/performance.md. The bounds leave room for noise.
BOUNDS = {"dream rollout": 1.3, "dynamics training": 1.1}


@pytest.mark.slow
def test_the_fast_paths_are_faster_than_the_plain_ones():
    ratios = speed_ups(frames=1, repetitions=5, names=tuple(BOUNDS))
    assert len(ratios) == len(BOUNDS)
    for name, ratio in ratios.items():
        bound = next(value for part, value in BOUNDS.items() if part in name)
        assert ratio > bound, f"{name}: only {ratio:.2f} times as fast as the plain path"
