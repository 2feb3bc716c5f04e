"""Medians of repeated calls, two contestants in turn."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

BURST_SECONDS = 0.2


def seconds_of(work: Callable[[], object], calls: int = 1) -> float:
    """Wall-clock seconds per call over a row of calls."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def medians(
    contestants: Sequence[Callable[[], object]], repetitions: int, warm_ups: int = 2
) -> list[float]:
    """Median seconds of each contestant, called in turn: A B A B …

    On a shared machine speed drifts; what is measured in turn drifts together. A turn is a burst
    of calls behind one that does not count: thread pools spin for a while after their last work,
    so the first milliseconds of a turn run beside the other contestant's idle threads.
    """
    calls = []
    for work in contestants:
        for _ in range(warm_ups):
            work()
        calls.append(max(1, math.ceil(BURST_SECONDS / seconds_of(work))))
    times = []
    for _ in range(repetitions):
        turn = []
        for work, count in zip(contestants, calls, strict=True):
            work()
            turn.append(seconds_of(work, count))
        times.append(turn)
    return [float(median) for median in np.median(np.array(times), axis=0)]
