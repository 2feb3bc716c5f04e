"""The real game beside a dream: same start, same actions, and where the two part.

Shapes: 96×96 pixels, 6×6 codes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from smallwm_tf.games.real_game import RealGame
from smallwm_tf.models.event_heads import class_rewards, reward_classes

PARTED_BELOW = 0.8  # share of equal codes


class RealBeside:
    """Follows a dream in the real game.

    Attributes:
      frame: uint8 [96, 96], the newest one.
      codes: int32 [6, 6], of the observation.
      reward: raw, of the last step; None before the first.
      reward_sum: of rewards clipped to −1, 0, 1, as dreams pay them.
      is_over: whether the episode has ended; from then on nothing moves or is compared.
      agreements: share of equal codes at each step from the start on.

    Args:
      game: where the starts come from.
      encode: uint8 [1, 96, 96, F] → codes [1, 6, 6].
    """

    def __init__(self, game: RealGame, encode: Callable[[np.ndarray], np.ndarray]):
        self._game, self._encode = game, encode

    def start(self, state: Mapping[str, np.ndarray], codes: np.ndarray) -> None:
        """Puts the game into a state of its ``get_state``, where the dream has codes [6, 6]."""
        time_step = self._game.set_state(state)
        self.reward, self.reward_sum, self.is_over = None, 0.0, False
        self._see(time_step.observation)
        self.agreements = [self._agreement(codes)]

    def step(self, action: int, codes: np.ndarray) -> None:
        """Plays the dream's action, which led it to codes [6, 6], unless the episode is over."""
        if self.is_over:
            return
        time_step = self._game.step(action)
        self.reward = float(time_step.reward)
        self.reward_sum += float(class_rewards(reward_classes(time_step.reward)))
        self.is_over = bool(time_step.is_last())
        self._see(time_step.observation)
        self.agreements.append(self._agreement(codes))

    def compare_again(self, codes: np.ndarray) -> None:
        """Notes codes [6, 6] that were overwritten since the last step."""
        if not self.is_over:
            self.agreements[-1] = self._agreement(codes)

    @property
    def parted_at(self) -> int | None:
        """The first step at which less than 80 % of the codes agreed."""
        parted = (step for step, share in enumerate(self.agreements) if share < PARTED_BELOW)
        return next(parted, None)

    def view(self) -> dict[str, Any]:
        """JSON values, without pictures."""
        return {
            "codes": self.codes.tolist(),
            "reward": self.reward,
            "reward_sum": self.reward_sum,
            "is_over": self.is_over,
            "agreements": list(self.agreements),
            "parted_at": self.parted_at,
        }

    def _agreement(self, codes: np.ndarray) -> float:
        return float(np.mean(self.codes == codes))

    def _see(self, observation: np.ndarray) -> None:
        self.frame = observation[..., -1].copy()
        self.codes = np.asarray(self._encode(observation[np.newaxis]))[0]


def difference_picture(dreamed: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Orange where the dream is brighter, else blue: uint8 [96, 96] twice → [96, 96, 3]."""
    difference = dreamed.astype(np.int16) - real
    brightness = np.abs(difference)[..., np.newaxis] / 255.0
    colours = np.where((difference > 0)[..., np.newaxis], (255, 150, 30), (60, 160, 255))
    return np.round(np.sqrt(brightness) * colours).astype(np.uint8)
