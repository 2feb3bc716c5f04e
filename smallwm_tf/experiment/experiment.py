"""What a run is asked to be: a game, every setting, a seed, a place and a name."""

from dataclasses import dataclass
from pathlib import Path

import ml_collections


@dataclass(frozen=True)
class Game:
    """One playable game."""

    name: str  # canonical, safe as part of a directory name ("MsPacman", "Catch")
    gymnasium_id: str  # what `gymnasium.make` is given ("ALE/MsPacman-v5")
    is_atari: bool  # whether it is played by the Atari emulator, with Atari preprocessing


@dataclass(frozen=True)
class Experiment:
    """All that a run depends on, every part of it valid; knows no command line."""

    game: Game
    config: ml_collections.FrozenConfigDict  # every setting, read-only
    seed: int  # source of all random numbers, 0 to 2**31 - 1
    run_dir: Path  # it need not exist yet
    preset: str  # name of the preset that the settings started from


def default_run_dir(game: Game, preset: str, seed: int) -> str:
    """Where a run lives if nobody says where."""
    return f"runs/{game.name}-{preset}-seed{seed}"
