"""How many moving objects a picture shows: codes that are drawn alone can double or lose one."""

import cv2
import numpy as np

from smallwm_tf.learning.world_model_learner import FOREGROUND_ABOVE

_LEAST_PIXELS = 3  # of an object; Pong's ball has some four


def count_objects(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Connected regions that differ from the background, corners counting as connections.

    What touches is one, and where all scrolls this counts the picture's parts instead.

    Args:
      frames: grey levels of 255, [n, 96, 96].
      background: what does not move, [96, 96].

    Returns:
      Numbers int [n].
    """
    counts = []
    for differs in np.abs(frames - background) > FOREGROUND_ABOVE:
        _, _, regions, _ = cv2.connectedComponentsWithStats(differs.astype(np.uint8))
        counts.append(np.sum(regions[1:, cv2.CC_STAT_AREA] >= _LEAST_PIXELS))  # 0: the rest
    return np.array(counts, int)
