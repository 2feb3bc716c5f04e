"""Experiments from names and numbers, as the command line has them; no TensorFlow here."""

from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import ml_collections

from smallwm_tf.experiment import experiment as record
from smallwm_tf.experiment.config import ConfigError, build_config, flatten, validate
from smallwm_tf.experiment.presets import DEFAULT_PRESET, load_preset
from smallwm_tf.games.catalogue import resolve_game

_MOST_SEED = 2**31 - 1


class Experiment(record.Experiment):
    """What a run is asked to be, every part of it valid.

        smallwm_tf.Experiment("Catch", "catch", seed=1, settings={"ppo.learning_rate": 1e-4})

    Attributes:
        game: The game, with `name`, `gymnasium_id` and `is_atari`.
        config: Every setting, read-only; `config.ppo.learning_rate`.
        seed: Source of all random numbers.
        run_dir: Where the run lives; it need not exist yet.
        preset: Name of the preset that the settings started from.
    """

    def __init__(
        self,
        game: record.Game | str,
        config: str | Path | Mapping[str, Any] | ml_collections.FrozenConfigDict = DEFAULT_PRESET,
        seed: int = 0,
        run_dir: Path | str | None = None,
        preset: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ):
        """Checks everything; nothing is written.

        Args:
            game: What `--game` understands: "Pong", "Catch", "module:Id-v0".
            config: A preset's name, the path of a preset of your own, or a whole configuration.
            seed: 0 to 2**31 - 1.
            run_dir: `runs/<game>-<preset>-seed<seed>` if left out.
            preset: What to call a whole configuration; "custom" if left out.
            settings: Differences from the preset, by key: {"ppo.learning_rate": 1e-4}.

        Raises:
            ConfigError, UnknownGameError: One line that names what cannot be used, and the remedy.
        """
        if isinstance(config, str | Path):
            name, resolved = load_preset(str(config))
        else:
            name, resolved = "custom", build_config(config)
        resolved = build_config({**flatten(resolved), **flatten(settings or {})})
        validate(resolved)
        if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed <= _MOST_SEED:
            raise ConfigError("seed", seed, f"must be a whole number from 0 to {_MOST_SEED}")
        seed = int(seed)
        played = game if isinstance(game, record.Game) else resolve_game(game)
        preset = preset or name
        place = Path(run_dir or record.default_run_dir(played, preset, seed)).expanduser()
        frozen = ml_collections.FrozenConfigDict(resolved)
        super().__init__(played, frozen, seed, place, preset)
