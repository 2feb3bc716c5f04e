"""Whether dreams pay where the real game does: rewards along dreams from held-out moments.

    dream step        1         2        …   H
    code, action     z_0, a_0  ẑ_1, a_1  …  ẑ_{H-1}, a_{H-1}      the actions really taken
    predicted        p(r_0)    p(r_1)    …  p(r_{H-1})
    compared with    r_0       r_1       …  r_{H-1}

Shapes: S starts, H steps of a dream.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.judging.open_loop import start_at, unroll
from smallwm_tf.judging.reward_skill import recognition_of
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.event_heads import reward_classes
from smallwm_tf.models.imagination import Dreamer

_MOST_STARTS = 800


class RewardsAlongDreams(NamedTuple):
    """By step of the dream; NaN where nothing can be said."""

    skill: np.ndarray  # [H], as of ``reward_skill.Recognition``
    auc: np.ndarray  # [H, 3] of each class against the others
    dreamed_rate: float  # predicted number of rewards that are not 0, per step
    real_rate: float  # how many there really were


def rewards_along_dreams(
    dreamer: Dreamer, replay: Replay, horizon: int, seed: np.ndarray
) -> RewardsAlongDreams:
    """Dreams from up to 800 steps of the replay; these, and codes, are drawn from an int32 pair.

    Steps behind the end of a start's episode do not count.
    """
    # At random: UpNDown pays at every second step, which starts at equal distances would not see.
    random, count = np.random.default_rng(seed.view(np.uint32)), min(_MOST_STARTS, replay.size)
    starts = np.sort(random.choice(replay.size, count, replace=False)).astype(np.int32)
    steps, valid = replay.window_steps(tf.constant(starts), horizon)
    state = start_at(dreamer, replay, starts)
    dreams = unroll(dreamer, state, tf.gather(replay.actions, steps), seed)
    classes = reward_classes(tf.gather(replay.rewards, steps)).numpy()
    valid, skill, auc = valid.numpy(), np.full(horizon, np.nan), np.full([horizon, 3], np.nan)
    for t in range(horizon):
        true = classes[valid[:, t], t]
        if not len(true):
            break
        skill[t], auc[t] = recognition_of(dreams.reward_probabilities[valid[:, t], t], true)
    return RewardsAlongDreams(
        skill,
        auc,
        dreamed_rate=float(1.0 - dreams.reward_probabilities[..., 1][valid].mean()),
        real_rate=float((classes != 1)[valid].mean()),
    )
