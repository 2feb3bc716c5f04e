"""How a real game is played."""

from dataclasses import dataclass

import numpy as np

from smallwm_tf.experiment.config import Config


@dataclass(frozen=True)
class GameSettings:
    """What every copy of the real game is opened with, besides its seed and its stack.

    Raises:
        ValueError: A number is out of range; the message names it.
    """

    frame_skip: int = 4  # emulator frames per agent step; Atari games only
    noop_max: int = 30  # most idle emulator frames at the start of an episode; Atari games only
    max_episode_steps: int = 27_000  # agent steps until it is cut off; 30 minutes of an Atari game

    def __post_init__(self) -> None:
        check_at_least("frame_skip", self.frame_skip, 1)
        check_at_least("noop_max", self.noop_max, 0)
        check_at_least("max_episode_steps", self.max_episode_steps, 1)

    @classmethod
    def of(cls, config: Config) -> "GameSettings":
        """Those of a run."""
        game = config.game
        return cls(game.frame_skip, game.noop_max, game.max_episode_steps)


def check_at_least(key: str, value: int, least: int) -> None:
    """Refuses what is no whole number, or too small a one, by its name."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{key}={value!r} must be a whole number, at least {least}")


DEFAULT_SETTINGS = GameSettings()
