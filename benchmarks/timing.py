"""Medians of repeated calls, two contestants in turn."""

import time
from collections.abc import Callable, Sequence

import numpy as np


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def medians(
    contestants: Sequence[Callable[[], object]], repetitions: int, warm_ups: int = 2
) -> list[float]:
    """Median seconds of each contestant, called in turn: A B A B …

    On a shared machine speed drifts; what is measured in turn drifts together.
    """
    for work in contestants:
        for _ in range(warm_ups):
            work()
    times = [[seconds_of(work) for work in contestants] for _ in range(repetitions)]
    return [float(median) for median in np.median(np.array(times), axis=0)]
