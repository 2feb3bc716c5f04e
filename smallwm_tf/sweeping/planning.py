"""A sweep as a list of runs: every game, seed and preset once, checked before any work."""

from pathlib import Path
from typing import NamedTuple

import ml_collections

from smallwm_tf.experiment.config import ConfigError, validate
from smallwm_tf.experiment.experiment import Experiment, Game
from smallwm_tf.experiment.messages import show
from smallwm_tf.experiment.presets import load_preset, split_switches
from smallwm_tf.games.catalogue import TABLE_4_GAMES, UnknownGameError, resolve_game
from smallwm_tf.runs import RunError
from smallwm_tf.runs.run_directory import check_may_continue
from smallwm_tf.runs.scores import published_scores
from smallwm_tf.sweeping import SweepError
from smallwm_tf.sweeping.task import log_of

#: Settings that change no result: runs of one folder may differ in them.
_WITHOUT_EFFECT = ("checkpoints.", "logging.", "precision:", "deterministic:")


class PlannedRun(NamedTuple):
    """One run of a sweep."""

    experiment: Experiment
    config: str  # what `smallwm_tf.train --config=` is given

    def words(self) -> list[str]:
        """The arguments of `smallwm_tf.train`."""
        asked = self.experiment
        game = asked.game.name if asked.game.is_atari else asked.game.gymnasium_id
        return [
            f"--game={game}",
            f"--config={self.config}",
            f"--seed={asked.seed}",
            f"--run_dir={asked.run_dir}",
        ]


def atari_100k_games() -> tuple[str, ...]:
    """The 26 games of the Atari 100k benchmark: those for which later methods have scores."""
    return tuple(game for game in TABLE_4_GAMES if "bbf" in published_scores(game))


def read_games(text: str) -> list[Game]:
    """The games of a list with commas; `atari26` and `atari36` stand for many.

    Raises:
        SweepError: One of them cannot be played.
    """
    groups = {"atari26": atari_100k_games(), "atari36": TABLE_4_GAMES}
    games: dict[str, Game] = {}
    for word in _words("games", text):
        try:
            for game in map(resolve_game, groups.get(word, (word,))):
                games[game.name] = game
        except UnknownGameError as error:
            raise SweepError(f"--games: {error} (lists: {', '.join(groups)})") from error
    return list(games.values())


def plan_runs(games: list[Game], num_seeds: int, configs: str, out: Path) -> list[PlannedRun]:
    """Every preset with every game and the seeds from 0; run directories are
    `out/<preset>/<game>-seed<seed>`.

    Args:
        games: What to play.
        num_seeds: How many seeds.
        configs: Names of presets or paths, with commas.
        out: An absolute path.

    Raises:
        SweepError: A preset cannot be used, or two have one name.
    """
    runs: list[PlannedRun] = []
    word_of: dict[str, str] = {}
    for word in _words("configs", configs):
        try:
            preset, config = load_preset(word)
            validate(config)
        except ConfigError as error:
            raise SweepError(f"--configs={show(word)}: {error}") from error
        if word_of.setdefault(preset, word) != word:
            raise SweepError(
                f"--configs: {show(word_of[preset])} and {show(word)} would both be kept in "
                f"{show(preset)}; rename one of the files, or name one of them only"
            )
        frozen = ml_collections.FrozenConfigDict(config)
        path = Path(split_switches(word)[0])
        is_file = path.suffix == ".py" and path.is_file()
        found = str(Path(word).absolute()) if is_file else word
        runs += [
            PlannedRun(Experiment(game, frozen, seed, out / preset / name, preset), found)
            for game in games
            for seed in range(num_seeds)
            for name in [f"{game.name}-seed{seed}"]
        ]
    return list({run.experiment.run_dir: run for run in runs}.values())


def check_run_directories(runs: list[PlannedRun]) -> None:
    """Refuses run directories that hold something else, or runs with other settings.

    `smallwm_tf.train` accepts new values of most settings; a sweep does not, since its results
    would then be of several configurations.

    Raises:
        SweepError: The first such directory.
    """
    for run in runs:
        asked = run.experiment
        for place in (asked.run_dir.parent, asked.run_dir, log_of(asked.run_dir)):
            if place.is_symlink():  # nobody has named these
                raise SweepError(f"--out: {place} is a link, and nothing in a sweep is reached "
                                 "through links; put what it leads to in its place")  # fmt: skip
        if not asked.run_dir.exists():
            continue
        try:
            changes = check_may_continue(
                asked.run_dir, asked.game, asked.config, asked.seed, asked.preset
            )
        except RunError as error:
            raise SweepError(f"--out: {error}".replace("--run_dir", "--out")) from error
        for change in changes:
            if not change.startswith(_WITHOUT_EFFECT):
                raise SweepError(
                    f"--out: {asked.run_dir} was made with another {run.config} ({change}); "
                    "bring that setting back, or name another --out"
                )


def _words(flag: str, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise SweepError(f"--{flag}={show(text)}: a name is empty; separate names by one comma")
    return list(dict.fromkeys(words))
