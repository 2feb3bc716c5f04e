"""What a run is asked to be: a game, every setting, a seed, a place and a name."""

from dataclasses import dataclass
from pathlib import Path

import ml_collections


@dataclass(frozen=True)
class Game:
    """One playable game.

    Attributes:
        name: Canonical name, safe as part of a directory name ("MsPacman", "Catch").
        gymnasium_id: What `gymnasium.make` is given ("ALE/MsPacman-v5").
        is_atari: Whether it is played by the Atari emulator, with Atari preprocessing.
    """

    name: str
    gymnasium_id: str
    is_atari: bool


@dataclass(frozen=True)
class Experiment:
    """All that a run depends on, every part of it valid; knows no command line.

    Attributes:
        game: The game to play.
        config: Every setting, read-only.
        seed: Source of all random numbers, 0 to 2**31 - 1.
        run_dir: The run directory; it need not exist yet.
        preset: Name of the preset that the settings started from.
    """

    game: Game
    config: ml_collections.FrozenConfigDict
    seed: int
    run_dir: Path
    preset: str
