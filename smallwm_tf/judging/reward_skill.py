"""How well probabilities of rare events are told: skill, and the area under the curve."""

from typing import NamedTuple

import numpy as np


class Recognition(NamedTuple):
    """How well rewards are told; NaN without two classes."""

    skill: float  # ``reward_skill``
    auc: np.ndarray  # [3] of each class against the others


def reward_skill(reward_loss: float, counts: np.ndarray) -> float:
    """1 for a perfect prediction, 0 for one that knows frequencies alone, below 0 for a worse one.

    The loss is in nats per transition, the counts are those of the classes.
    """
    shares = counts[counts > 0] / counts.sum()
    entropy = -float(np.sum(shares * np.log(shares)))
    return 1.0 - reward_loss / entropy if entropy > 0.0 else float("nan")


def area_under_curve(probabilities: np.ndarray, is_class: np.ndarray) -> float:
    """The chance that one of the class [n] has a higher probability than one of the others.

    The area under the receiver operating characteristic; equal probabilities count half. NaN
    without members or others.
    """
    num_members, num_others = int(is_class.sum()), int((~is_class).sum())
    if not num_members or not num_others:
        return float("nan")
    _, inverse, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    mean_ranks = counts.cumsum() - (counts - 1) / 2.0
    rank_sum = mean_ranks[inverse][is_class].sum()
    return float(rank_sum - num_members * (num_members + 1) / 2.0) / (num_members * num_others)


def areas_by_class(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """``area_under_curve`` of each class [3]: probabilities [n, 3] and true classes int [n]."""
    return np.array([area_under_curve(probabilities[:, c], classes == c) for c in range(3)])


def recognition_of(probabilities: np.ndarray, classes: np.ndarray) -> Recognition:
    """Of predictions [n, 3] for true classes int [n]."""
    probabilities = probabilities.astype(float)
    loss = -np.log(np.maximum(probabilities[np.arange(len(classes)), classes], 1e-30)).mean()
    skill = reward_skill(float(loss), np.bincount(classes, minlength=3))
    return Recognition(skill, areas_by_class(probabilities, classes))
