"""Replays of made-up steps."""

import numpy as np

from smallwm_tf.learning.replay import Replay


def made_replay(
    num_steps: int, num_actions: int = 3, capacity: int | None = None, **columns: np.ndarray
) -> Replay:
    """Frames and actions are noise, nothing pays or ends, but for the columns given."""
    draw = np.random.default_rng(0)
    noise = {
        "frames": draw.integers(256, size=[num_steps, 96, 96], dtype=np.uint8),
        "actions": draw.integers(num_actions, size=num_steps),
    }
    never = {name: np.zeros(num_steps, bool) for name in ("terminated", "truncated", "lost_life")}
    replay = Replay(num_steps if capacity is None else capacity)
    replay.append(**noise | {"rewards": np.zeros(num_steps)} | never | columns)
    return replay
